package volumes

import (
	"context"
	"errors"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/csi"
)

// tearDown takes all volumes of drivers from a pod. Nothing of the volumes may be bound elsewhere for the pod any more.
func (c *csiVolumes) tearDown(ctx context.Context, uid types.UID) error {
	if err := c.dropFresh(uid); err != nil {
		return err
	}
	volumes, err := c.layout.of(uid)
	if err != nil {
		return err
	}
	var failures []error
	for _, h := range volumes {
		failures = append(failures, c.takeDown(ctx, h))
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	for _, dir := range []string{c.layout.podDevices(uid), filepath.Dir(c.layout.podDevices(uid))} {
		if err := removeEmpty(dir); err != nil {
			return err
		}
	}
	c.attached.release(uid)
	return nil
}

// dropFresh removes what a killed process left of entries that it was writing, which would keep the pod's directory. Where an
// entry itself is missing, no driver was asked for anything yet.
func (c *csiVolumes) dropFresh(uid types.UID) error {
	names, err := entries(c.layout.podVolumes(uid))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := remove(filepath.Join(c.layout.podVolume(uid, name), volDataFresh)); err != nil {
			return err
		}
	}
	return nil
}

// takeDown unpublishes one volume and, if it is had nowhere else, unstages it.
func (c *csiVolumes) takeDown(ctx context.Context, h held) error {
	driver, err := c.drivers.Get(h.Driver)
	if err != nil {
		return errCSI("Unmounter.TearDownAt failed to get CSI client: %w", err)
	}
	unlock, err := c.locks.lock(ctx, uniqueName(h.Driver, h.Handle))
	if err != nil {
		return err
	}
	defer unlock()
	if h.block {
		return c.takeDownDevice(ctx, driver, h)
	}
	dir := c.layout.podVolume(h.pod, h.Name)
	target := filepath.Join(dir, "mount")
	if err := driver.Unpublish(ctx, h.Handle, target); err != nil {
		return errCSI("Unmounter.TearDownAt failed: %w", err)
	}
	// A driver removes what it published; for one that only unmounts it is done here.
	if err := removeTarget(target); err != nil {
		return err
	}
	staged := c.layout.staged(h.Driver, h.Handle)
	known, err := loadVolData(staged)
	if err != nil {
		return err
	}
	if known != nil {
		staging := filepath.Join(staged, "globalmount")
		if err := c.unstage(ctx, driver, h, staging, []string{staging, filepath.Join(staged, volDataFile), staged}); err != nil {
			return err
		}
	}
	return removeAll(filepath.Join(dir, volDataFile), dir)
}

func (c *csiVolumes) takeDownDevice(ctx context.Context, driver *csi.Driver, h held) error {
	target := c.layout.devicePublished(h.Name, h.pod)
	if err := driver.Unpublish(ctx, h.Handle, target); err != nil {
		return errCSI("blockMapper.UnmapPodDevice failed: %w", err)
	}
	if err := removeTarget(target); err != nil {
		return err
	}
	staging, data := c.layout.deviceStaging(h.Name), c.layout.deviceData(h.Name)
	link := filepath.Join(c.layout.podDevices(h.pod), h.Name)
	shared, err := c.layout.others(h)
	if err != nil {
		return err
	}
	if shared {
		return remove(link)
	}
	if err := c.unstage(ctx, driver, h, staging, []string{staging, filepath.Dir(target)}); err != nil {
		return err
	}
	// The link first: without the data nobody would know what it is.
	return removeAll(link, filepath.Join(data, volDataFile), data, filepath.Dir(data))
}

// unstage takes a volume that is had nowhere else from the node and removes what is left of it there.
func (c *csiVolumes) unstage(ctx context.Context, driver *csi.Driver, h held, staging string, left []string) error {
	shared, err := c.layout.others(h)
	if err != nil || shared {
		return err
	}
	stages, err := driver.Can(ctx, csi.Stages)
	if err != nil {
		return err
	}
	c.setStaged(uniqueName(h.Driver, h.Handle), false)
	if stages {
		if err := driver.Unstage(ctx, h.Handle, staging); err != nil {
			return errCSI("attacher.UnmountDevice failed: %w", err)
		}
	}
	if err := removeUnmounted(staging); err != nil {
		return err
	}
	return removeAll(left...)
}

// removeAll removes files and empty directories in their order.
func removeAll(paths ...string) error {
	for _, path := range paths {
		if err := remove(path); err != nil {
			return err
		}
	}
	return nil
}
