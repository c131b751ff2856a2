package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skiff/apis/server"
	"skiff/config"
	"skiff/config/pki"
)

// preflight reports what would keep a server from starting, before anything is
// written.
func preflight(cfg *config.Config) error {
	if !cfg.NoNode {
		if err := preflightNode(cfg); err != nil {
			return err
		}
	}
	if err := server.CheckAccess(cfg.Authentication, cfg.Authorization); err != nil {
		return err
	}
	if err := server.CheckAudit(cfg.Audit); err != nil {
		return err
	}
	if err := server.CheckEncryption(cfg.Encryption); err != nil {
		return err
	}
	if err := server.CheckAdmission(cfg.Admission); err != nil {
		return err
	}
	if _, err := scheduling(cfg); err != nil {
		return err
	}
	if _, err := os.Stat(sharedFile(cfg)); err == nil {
		return &config.Error{Key: "data-dir", Problem: cfg.DataDir + " is an agent's", Remedy: "run `skiff agent` with it, or give the server a directory of its own"}
	}
	if err := cfg.CheckDataDir(); err != nil {
		return err
	}
	return pki.Check(pki.Config{Dir: filepath.Join(cfg.DataDir, "pki")})
}

// preflightNode reports what would keep a node from running.
func preflightNode(cfg *config.Config) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("running containers needs root: run it with sudo, or add --no-node for the control plane alone")
	}
	if err := capable(); err != nil {
		return err
	}
	_, err := cfg.Node()
	return err
}

// needed are the capabilities without which no container can be run (capabilities(7)).
var needed = []struct { //nolint:gochecknoglobals // a table
	name   string
	number uint
}{
	{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN},
	{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
	{"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT},
	{"CAP_CHOWN", unix.CAP_CHOWN},
	{"CAP_SETUID", unix.CAP_SETUID},
	{"CAP_SETGID", unix.CAP_SETGID},
	{"CAP_KILL", unix.CAP_KILL},
}

// capable reports a capability that root lacks here, as in a container that is not privileged.
func capable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("reading this process's capabilities: %w", err)
	}
	for _, c := range needed {
		if sets[c.number/32].Effective&(1<<(c.number%32)) == 0 {
			return fmt.Errorf("running containers needs the capability %s, which root lacks here: start skiff on the host or in a privileged container, or add --no-node for the control plane alone", c.name)
		}
	}
	return nil
}
