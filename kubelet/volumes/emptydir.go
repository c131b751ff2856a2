package volumes

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const emptyDirName = "kubernetes.io~empty-dir"

// emptyDir is a directory that lives as long as its pod, on disk, in memory or in huge pages.
type emptyDir struct {
	allocatable func() corev1.ResourceList
}

func (emptyDir) dir() string { return emptyDirName }

// owns also claims a volume that names no source: the API treats it as an emptyDir.
func (emptyDir) owns(spec *corev1.Volume) bool {
	return spec.EmptyDir != nil || spec.VolumeSource == corev1.VolumeSource{}
}

func (e emptyDir) setUp(_ context.Context, v *volume) (string, time.Time, error) {
	if err := openDir(v.dir); err != nil {
		return "", time.Time{}, err
	}
	fstype, options, err := e.filesystem(v)
	if err != nil {
		return "", time.Time{}, err
	}
	if fstype != "" {
		if err := mountOnce(v.dir, fstype, options); err != nil {
			return "", time.Time{}, err
		}
	}
	if group := fsGroupOf(v.pod); group != nil {
		// A new directory is empty and one whose root is right has been given away before.
		return v.dir, time.Time{}, ownTree(v.dir, *group, true)
	}
	return v.dir, time.Time{}, nil
}

// filesystem answers what to mount for the medium; nothing for a directory on disk.
func (e emptyDir) filesystem(v *volume) (fstype, options string, err error) {
	source := v.spec.EmptyDir
	if source == nil || source.Medium == corev1.StorageMediumDefault {
		return "", "", nil
	}
	if source.Medium == corev1.StorageMediumMemory {
		return "tmpfs", memoryOptions(e.memorySize(v)), nil
	}
	if strings.HasPrefix(string(source.Medium), string(corev1.StorageMediumHugePages)) {
		page, err := hugePageSize(v.pod, source.Medium)
		if err != nil {
			return "", "", err
		}
		return "hugetlbfs", fmt.Sprintf("pagesize=%d", page.Value()), nil
	}
	return "", "", fmt.Errorf("unknown storage medium %q", source.Medium)
}

// memorySize is the least of the volume's limit, the pod's memory limit and what the node can allocate; 0 if none is set.
func (e emptyDir) memorySize(v *volume) int64 {
	var allocatable int64
	if e.allocatable != nil {
		memory := e.allocatable()[corev1.ResourceMemory]
		allocatable = memory.Value()
	}
	size := leastSet(allocatable, podMemoryLimit(v.pod))
	if limit := v.spec.EmptyDir.SizeLimit; limit != nil {
		size = leastSet(size, limit.Value())
	}
	return size
}

// podMemoryLimit is what all containers together may use, or 0 if one has no limit.
func podMemoryLimit(pod *corev1.Pod) int64 {
	if pod.Spec.Resources != nil {
		if limit, ok := pod.Spec.Resources.Limits[corev1.ResourceMemory]; ok {
			return limit.Value()
		}
	}
	var total int64
	for i := range pod.Spec.Containers {
		limit, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceMemory]
		if !ok {
			return 0
		}
		total += limit.Value()
	}
	return total
}

func leastSet(a, b int64) int64 {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

func memoryOptions(size int64) string {
	if size <= 0 {
		return "mode=0777"
	}
	return fmt.Sprintf("mode=0777,size=%d", size)
}

// hugePageSize is the size the medium names, or the only one the pod's containers ask for.
func hugePageSize(pod *corev1.Pod, medium corev1.StorageMedium) (resource.Quantity, error) {
	if name, ok := strings.CutPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)); ok && name != "" {
		return parsePageSize(name)
	}
	sizes := map[string]bool{}
	for i := range pod.Spec.Containers {
		for key := range pod.Spec.Containers[i].Resources.Requests {
			if name, ok := strings.CutPrefix(string(key), corev1.ResourceHugePagesPrefix); ok {
				sizes[name] = true
			}
		}
	}
	if len(sizes) != 1 {
		return resource.Quantity{}, fmt.Errorf("medium %q needs the pod to use exactly one huge page size, it uses %d", medium, len(sizes))
	}
	for name := range sizes {
		return parsePageSize(name)
	}
	return resource.Quantity{}, nil
}

func parsePageSize(name string) (resource.Quantity, error) {
	size, err := resource.ParseQuantity(name)
	if err != nil {
		return resource.Quantity{}, fmt.Errorf("huge page size %q: %w", name, err)
	}
	return size, nil
}

// openDir makes a directory everybody may use, whatever the umask.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making a volume's directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("making a volume's directory: %w", err)
	}
	if info.Mode().Perm() == 0o777 {
		return nil
	}
	if err := os.Chmod(dir, info.Mode()|0o777); err != nil {
		return fmt.Errorf("opening a volume's directory: %w", err)
	}
	return nil
}

// mountOnce mounts a filesystem at dir unless something is mounted there.
func mountOnce(dir, fstype, options string) error {
	mounted, err := isMount(dir)
	if err != nil || mounted {
		return err
	}
	return mountFS(fstype, dir, options)
}
