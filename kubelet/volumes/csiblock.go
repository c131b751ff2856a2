package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// provideDevice stages and publishes a volume as a device and links the pod's path to it.
func (c *csiVolumes) provideDevice(ctx context.Context, v *volume, task *csiTask) error {
	if !task.first {
		return nil
	}
	if err := task.data().save(c.layout.deviceData(task.name)); err != nil {
		return err
	}
	target := c.layout.devicePublished(task.name, task.pod.UID)
	if err := linkDevice(c.path(task.csiVolume), target); err != nil {
		return err
	}
	capability, err := task.driver.Capability(ctx, task.use(nil))
	if err != nil {
		return err
	}
	staging := ""
	if task.stages {
		staging = c.layout.deviceStaging(task.name)
		if err := os.MkdirAll(staging, 0o750); err != nil {
			return fmt.Errorf("making a place to stage a device: %w", err)
		}
	}
	if task.stages && !c.isStaged(task.unique()) {
		if err := c.stage(ctx, task, capability, staging); err != nil {
			return err
		}
	}
	// The driver makes the file itself.
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return fmt.Errorf("making a place to publish a device: %w", err)
	}
	return c.publish(ctx, v, task, capability, staging, target)
}

// linkDevice makes link point to target, whether or not that is there.
func linkDevice(link, target string) error {
	if err := os.MkdirAll(filepath.Dir(link), 0o750); err != nil {
		return fmt.Errorf("making a place for a device: %w", err)
	}
	if found, err := os.Readlink(link); err == nil && found == target {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the link to a device: %w", err)
	}
	if err := os.Symlink(target, link); err != nil {
		return fmt.Errorf("linking a device: %w", err)
	}
	return nil
}
