package config

import (
	"fmt"
	"path/filepath"
)

// Scheduling is how pods are placed.
type Scheduling struct {
	ConfigFile string // a kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration; "" means upstream's defaults
}

func (c *Config) validateScheduling() error {
	file := c.Scheduling.ConfigFile
	switch {
	case file == "":
		return nil
	case !filepath.IsAbs(file):
		return &Error{"scheduler-config", fmt.Sprintf("%q is not an absolute path", file), "give a path that begins with /"}
	case c.APIOnly:
		return &Error{"scheduler-config", "no scheduler runs with api-only", "give no-node instead of api-only, or leave it out"}
	default:
		return nil
	}
}
