package evict

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// Signal is something that a node can be short of.
type Signal string

// The signals.
const (
	Memory Signal = "memory.available"
	Disk   Signal = "nodefs.available"
	Inodes Signal = "nodefs.inodesFree"
)

func (s Signal) resource() string {
	switch s {
	case Memory:
		return "memory"
	case Inodes:
		return "inodes"
	}
	return "ephemeral-storage"
}

// Left is what is left of everything.
type Left struct {
	Memory                            int64
	Disk, DiskTotal, Inodes, AllInode int64
}

// Shortage is a threshold that was passed.
type Shortage struct {
	Signal               Signal
	Threshold, Available int64
}

// Short finds the first threshold that is passed; memory comes first.
func Short(left Left, t Thresholds) (Shortage, bool) {
	for _, s := range []Shortage{
		{Memory, t.Memory, left.Memory},
		{Disk, int64(t.Disk * float64(left.DiskTotal)), left.Disk},
		{Inodes, int64(t.Inodes * float64(left.AllInode)), left.Inodes},
	} {
		if s.Threshold > 0 && s.Available < s.Threshold {
			return s, true
		}
	}
	return Shortage{}, false
}

// Victim is a pod that may be evicted and its containers that use more than they request.
type Victim struct {
	Pod  *corev1.Pod
	Over []Use
	over int64
}

// Use is what a container uses of what it requests.
type Use struct {
	Name            string
	Used, Requested int64
}

// criticalPriority is that of pods which are never evicted.
const criticalPriority = 2000000000

// Rank orders the pods that may be evicted, the first to go first.
func Rank(pods []*corev1.Pod, stats []cri.PodStats, signal Signal) []Victim {
	used := map[string]cri.PodStats{}
	for _, s := range stats {
		used[s.UID] = s
	}
	var out []Victim
	for _, p := range pods {
		if !evictable(p) {
			continue
		}
		out = append(out, victim(p, used[string(p.UID)], signal))
	}
	slices.SortStableFunc(out, func(a, b Victim) int {
		return cmp.Or(
			cmp.Compare(rank(b.over > 0), rank(a.over > 0)),
			cmp.Compare(priority(a.Pod), priority(b.Pod)),
			cmp.Compare(b.over, a.over),
		)
	})
	return out
}

// evictable says whether the pod runs and may be ended.
func evictable(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && priority(p) < criticalPriority && p.DeletionTimestamp == nil
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

func victim(p *corev1.Pod, s cri.PodStats, signal Signal) Victim {
	out := Victim{Pod: p}
	requests := map[string]int64{}
	for _, c := range p.Spec.Containers {
		if signal == Memory {
			requests[c.Name] = c.Resources.Requests.Memory().Value()
		} else {
			requests[c.Name] = c.Resources.Requests.StorageEphemeral().Value()
		}
	}
	for _, c := range s.Containers {
		use := Use{Name: c.Name, Used: int64(c.WorkingSet), Requested: requests[c.Name]}
		switch signal {
		case Disk:
			use.Used = int64(c.RootfsBytes)
		case Inodes:
			use.Used, use.Requested = int64(c.RootfsInodes), 0
		}
		out.over += use.Used - use.Requested
		if use.Used > use.Requested {
			out.Over = append(out.Over, use)
		}
	}
	return out
}

// Measure reads what is left on the node and on the filesystem of root.
func Measure(root string) (Left, error) {
	available, err := meminfo("MemAvailable")
	if err != nil {
		return Left{}, err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(root, &disk); err != nil {
		return Left{}, fmt.Errorf("reading the size of %s: %w", root, err)
	}
	return Left{
		Memory: available, Disk: int64(disk.Bavail) * disk.Bsize, DiskTotal: int64(disk.Blocks) * disk.Bsize,
		Inodes: int64(disk.Ffree), AllInode: int64(disk.Files),
	}, nil
}

// MemoryCapacity is the node's memory in bytes.
func MemoryCapacity() (int64, error) { return meminfo("MemTotal") }

func meminfo(name string) (int64, error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("reading the node's memory: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if !ok || key != name {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", name, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("reading the node's memory: no %s", name)
}
