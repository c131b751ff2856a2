package volumes

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"skiff/kubelet/csi"
	"skiff/kubelet/internal/diskuse"
)

const (
	// usageAge is how old figures get before they are measured again.
	usageAge = time.Minute
	// usagePatience bounds the wait for a driver's figures.
	usagePatience = 10 * time.Second
	// measurers is how many pods are measured at once.
	measurers = 2
)

// usage is what was last measured of a pod's volumes.
type usage struct {
	mu    sync.Mutex
	last  []statsapi.VolumeStats
	begun time.Time
}

// Usage answers what was last measured of a pod's volumes; nothing at first. Asking has them measured again once that is
// old: a walk over many files takes its time, and a node that nobody asks measures nothing.
func (m *Manager) Usage(uid types.UID) []statsapi.VolumeStats {
	t := m.lookup(uid)
	if t == nil {
		return nil
	}
	t.usage.mu.Lock()
	defer t.usage.mu.Unlock()
	if time.Since(t.usage.begun) >= usageAge {
		m.stale.add(uid, time.Now())
	}
	return t.usage.last
}

// measure measures the volumes of a pod that nothing else is done to.
func (m *Manager) measure(ctx context.Context, uid types.UID) {
	t := m.lookup(uid)
	if t == nil || !t.mu.TryLock() {
		return
	}
	pod, paths, provided := t.pod, maps.Clone(t.paths), maps.Clone(t.provided)
	mounted := t.mounted
	t.mu.Unlock()
	if !mounted {
		return
	}
	t.usage.mu.Lock()
	t.usage.begun = time.Now()
	t.usage.mu.Unlock()
	var found []statsapi.VolumeStats
	for i := range pod.Spec.Volumes {
		spec := &pod.Spec.Volumes[i]
		path, ok := paths[spec.Name]
		if !ok {
			continue
		}
		stats, ok, err := m.usageOf(ctx, spec, path, provided[spec.Name])
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Could not measure a volume", "pod", klog.KObj(pod), "volume", spec.Name, "err", err)
		}
		if err != nil || !ok {
			continue
		}
		stats.Name, stats.Time, stats.PVCRef = spec.Name, metav1.Now(), claimOf(pod, spec)
		found = append(found, stats)
	}
	t.usage.mu.Lock()
	t.usage.last = found
	t.usage.mu.Unlock()
}

// usageOf measures one volume, if it is of a kind that is measured: what the host has or a server elsewhere isn't.
func (m *Manager) usageOf(ctx context.Context, spec *corev1.Volume, path string, state *csiState) (stats statsapi.VolumeStats, ok bool, err error) {
	if state != nil {
		return m.csi.usage(ctx, path, state)
	}
	switch {
	case spec.HostPath != nil || spec.NFS != nil || strings.Contains(path, "/"+nfsName+"/"):
		return stats, false, nil
	case (spec.PersistentVolumeClaim != nil || spec.Ephemeral != nil) && !strings.Contains(path, "/"+localName+"/"):
		return stats, false, nil
	}
	mounted, err := isMount(path)
	if err != nil {
		return stats, false, err
	}
	if stats.FsStats, err = filesystem(path); err != nil {
		return stats, false, err
	}
	if mounted {
		return stats, true, nil
	}
	// A directory shares its filesystem with others: what is free is theirs too, what is used is its own.
	bytes, files, err := diskuse.Of(path)
	stats.UsedBytes, stats.InodesUsed = amount(bytes), amount(files)
	return stats, err == nil, err
}

// usage asks a driver, if it counts.
func (c *csiVolumes) usage(ctx context.Context, path string, state *csiState) (stats statsapi.VolumeStats, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, usagePatience)
	defer cancel()
	driver, err := c.drivers.Get(state.driver)
	if err != nil {
		return stats, false, err
	}
	counts, err := driver.Can(ctx, csi.CountsUse)
	if err != nil || !counts {
		return stats, false, err
	}
	use, err := driver.Usage(ctx, state.handle, path)
	if err != nil {
		return stats, false, err
	}
	stats.FsStats = statsapi.FsStats{
		CapacityBytes: amount(use.Capacity), UsedBytes: amount(use.Used), AvailableBytes: amount(use.Available),
		Inodes: amount(use.Inodes), InodesUsed: amount(use.InodesUsed), InodesFree: amount(use.InodesFree),
	}
	return stats, true, nil
}

func filesystem(path string) (statsapi.FsStats, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return statsapi.FsStats{}, fmt.Errorf("reading the size of %s: %w", path, err)
	}
	size := st.Bsize
	return statsapi.FsStats{
		CapacityBytes: amount(int64(st.Blocks) * size), UsedBytes: amount(int64(st.Blocks-st.Bfree) * size), AvailableBytes: amount(int64(st.Bavail) * size),
		Inodes: amount(int64(st.Files)), InodesUsed: amount(int64(st.Files - st.Ffree)), InodesFree: amount(int64(st.Ffree)),
	}, nil
}

func amount(n int64) *uint64 {
	out := uint64(max(n, 0))
	return &out
}

// claimOf is the claim behind a volume, nil if there is none.
func claimOf(pod *corev1.Pod, spec *corev1.Volume) *statsapi.PVCReference {
	switch {
	case spec.PersistentVolumeClaim != nil:
		return &statsapi.PVCReference{Namespace: pod.Namespace, Name: spec.PersistentVolumeClaim.ClaimName}
	case spec.Ephemeral != nil:
		return &statsapi.PVCReference{Namespace: pod.Namespace, Name: ephemeral.VolumeClaimName(pod, spec)}
	}
	return nil
}
