package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/uuid"

	"skiff/config"
	"skiff/scheduler"
)

// scheduling reads the scheduler's configuration. Its holder in a lease is the node with something that no other server
// has, as upstream's.
func scheduling(cfg *config.Config) (scheduler.Config, error) {
	file := cfg.Scheduling.ConfigFile
	if file == "" {
		return scheduler.Config{}, nil
	}
	c, err := scheduler.Load(file)
	if err != nil {
		return c, &config.Error{Key: "scheduler-config", Problem: fmt.Sprintf("%s: %v", file, err), Remedy: "mend the file"}
	}
	if c.LeaderElection {
		node, err := cfg.Node()
		if err != nil {
			return c, err
		}
		c.Identity = node + "_" + string(uuid.NewUUID())
	}
	return c, nil
}
