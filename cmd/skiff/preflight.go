package main

import (
	"fmt"
	"os"
	"path/filepath"

	"skiff/config"
	"skiff/config/pki"
)

// preflight reports what would keep a server from starting, before anything is
// written.
func preflight(cfg *config.Config) error {
	if !cfg.NoNode && os.Geteuid() != 0 {
		return fmt.Errorf("running containers needs root: run it with sudo, or add --no-node for the control plane alone")
	}
	if _, err := cfg.Node(); err != nil && !cfg.NoNode {
		return err
	}
	if err := cfg.CheckDataDir(); err != nil {
		return err
	}
	return pki.Check(pki.Config{Dir: filepath.Join(cfg.DataDir, "pki")})
}
