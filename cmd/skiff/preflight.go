package main

import (
	"fmt"
	"os"

	"skiff/config"
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
	return cfg.CheckDataDir()
}
