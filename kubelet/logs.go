package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
)

// logPeriod is how often logs' sizes are looked at.
const logPeriod = 10 * time.Second

// rotateLogs rotates logs that have become too long until ctx ends.
func (k *Kubelet) rotateLogs(ctx context.Context) error {
	for pause(ctx, logPeriod) {
		for _, p := range k.pods.Pods() {
			for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
				c, ok := k.pods.Container(p.UID, s.Name, false)
				if !ok || c.State != cri.Running || c.LogPath == "" {
					continue
				}
				if err := k.rotate(ctx, c); err != nil && ctx.Err() == nil {
					klog.FromContext(ctx).Error(err, "Could not rotate a log", "pod", klog.KObj(p), "container", c.Name)
				}
			}
		}
	}
	return nil
}

// rotate sets a log that is too long aside, makes the runtime begin a new one and removes the oldest of those set aside.
func (k *Kubelet) rotate(ctx context.Context, c cri.Container) error {
	info, err := os.Stat(c.LogPath)
	if errors.Is(err, fs.ErrNotExist) {
		return k.deps.Runtime.ReopenLog(ctx, c.ID)
	}
	if err != nil || info.Size() < k.config.MaxLogSize {
		return err
	}
	old, err := filepath.Glob(c.LogPath + ".*")
	if err != nil {
		return fmt.Errorf("listing rotated logs: %w", err)
	}
	slices.Sort(old)
	for len(old) > max(k.config.MaxLogFiles-2, 0) {
		if err := os.Remove(old[0]); err != nil {
			return fmt.Errorf("removing a rotated log: %w", err)
		}
		old = old[1:]
	}
	if err := os.Rename(c.LogPath, c.LogPath+"."+time.Now().Format("20060102-150405")); err != nil {
		return fmt.Errorf("setting a log aside: %w", err)
	}
	return k.deps.Runtime.ReopenLog(ctx, c.ID)
}
