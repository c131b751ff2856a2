// Package cgroup keeps the tree of cgroups that pods live in, below a root of the instance's own:
//
//	<root>/pod<uid>              guaranteed pods
//	<root>/burstable/pod<uid>    pods that request something
//	<root>/besteffort/pod<uid>   pods that request nothing
//
// It works with both versions of the kernel's interface. Containers' cgroups below a pod's are the runtime's.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"

	"skiff/kubelet/status"
)

// mountPoint is where the kernel's cgroup file systems are mounted.
const mountPoint = "/sys/fs/cgroup"

// Manager keeps one tree. It is safe for concurrent use.
type Manager struct {
	root  string
	files hierarchy

	mu   sync.Mutex
	pods map[types.UID]member
}

// member is a pod that has a cgroup.
type member struct {
	path     string
	class    corev1.PodQOSClass
	milliCPU int64
}

// hierarchy writes a version of the interface.
type hierarchy interface {
	// make makes a cgroup and its parents, and gives it limits.
	make(name string, limits Limits) error
	// remove removes a cgroup and those below it. A missing one is removed.
	remove(name string) error
}

// New makes a manager of the tree at root, such as /kubepods-main, with the version that the host has. Nothing is made yet.
func New(root string) (*Manager, error) {
	if !strings.HasPrefix(root, "/") || root == "/" {
		return nil, fmt.Errorf("the pods' cgroup must be a path below /, not %q", root)
	}
	m := &Manager{root: path.Clean(root), pods: map[types.UID]member{}}
	if Unified() {
		m.files = v2{mountPoint}
		return m, nil
	}
	mounts, err := controllers(mountPoint)
	if err != nil {
		return nil, err
	}
	m.files = v1{mounts, filepath.Join(mountPoint, "unified")}
	return m, nil
}

// Unified reports whether the host has the second version alone.
func Unified() bool {
	_, err := os.Stat(filepath.Join(mountPoint, "cgroup.controllers"))
	return err == nil
}

// controllers lists the mounted hierarchies of the first version.
func controllers(at string) ([]string, error) {
	entries, err := os.ReadDir(at)
	if err != nil {
		return nil, fmt.Errorf("looking for cgroups: %w", err)
	}
	var out []string
	for _, entry := range entries {
		dir := filepath.Join(at, entry.Name())
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || entry.Name() == "unified" {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && entry.Type()&fs.ModeSymlink == 0 {
			out = append(out, dir)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no cgroups are mounted at %s", at)
	}
	return out, nil
}

// Path is the cgroup of a pod.
func (m *Manager) Path(pod *corev1.Pod) string {
	name := "pod" + string(pod.UID)
	switch status.QOS(pod) {
	case corev1.PodQOSBurstable:
		return path.Join(m.root, "burstable", name)
	case corev1.PodQOSBestEffort:
		return path.Join(m.root, "besteffort", name)
	}
	return path.Join(m.root, name)
}

// Ensure makes the pod's cgroup with its limits and answers its path.
func (m *Manager) Ensure(pod *corev1.Pod) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.pods[pod.UID]; ok {
		return known.path, nil
	}
	limits := Of(pod)
	entry := member{path: m.Path(pod), class: status.QOS(pod), milliCPU: limits.milliCPU}
	m.pods[pod.UID] = entry
	if err := errors.Join(m.share(entry.class), m.files.make(entry.path, limits)); err != nil {
		delete(m.pods, pod.UID)
		return "", fmt.Errorf("making the cgroup of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return entry.path, nil
}

// Remove removes the pod's cgroup. A missing one is removed.
func (m *Manager) Remove(uid types.UID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, class := range []string{"", "burstable", "besteffort"} {
		errs = append(errs, m.files.remove(path.Join(m.root, class, "pod"+string(uid))))
	}
	known, ok := m.pods[uid]
	delete(m.pods, uid)
	if ok {
		errs = append(errs, m.share(known.class))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing the cgroup of pod %s: %w", uid, err)
	}
	return nil
}

// share gives a class of pods the CPU weight that its pods request together.
func (m *Manager) share(class corev1.PodQOSClass) error {
	switch class {
	case corev1.PodQOSBestEffort:
		return m.files.make(path.Join(m.root, "besteffort"), Limits{Shares: minShares})
	case corev1.PodQOSBurstable:
		total := int64(0)
		for _, p := range m.pods {
			if p.class == class {
				total += p.milliCPU
			}
		}
		return m.files.make(path.Join(m.root, "burstable"), Limits{Shares: shares(total)})
	}
	return m.files.make(m.root, Limits{})
}

// Limits are what a cgroup may use; zero fields are left as they are.
type Limits struct {
	// Shares is the CPU weight on the first version's scale (2 to 262144); Quota the CPU time per 100 ms in microseconds.
	Shares, Quota int64
	// Memory is the most memory in bytes.
	Memory int64

	milliCPU int64
}

const (
	minShares = 2
	maxShares = 262144
	period    = 100000
	minQuota  = 1000
)

// Of computes the limits of a pod. CPU and memory are limited only where every container's are.
func Of(pod *corev1.Pod) Limits {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	limits := resource.PodLimits(pod, resource.PodResourcesOptions{})
	out := Limits{milliCPU: requests.Cpu().MilliValue()}
	out.Shares = shares(out.milliCPU)
	cpu, memory := true, true
	for _, c := range pod.Spec.Containers {
		cpu = cpu && !c.Resources.Limits.Cpu().IsZero()
		memory = memory && !c.Resources.Limits.Memory().IsZero()
	}
	if pod.Spec.Resources != nil {
		cpu = cpu || !pod.Spec.Resources.Limits.Cpu().IsZero()
		memory = memory || !pod.Spec.Resources.Limits.Memory().IsZero()
	}
	if cpu {
		out.Quota = max(limits.Cpu().MilliValue()*period/1000, minQuota)
	}
	if memory {
		out.Memory = limits.Memory().Value()
	}
	return out
}

func shares(milli int64) int64 { return min(max(milli*1024/1000, minShares), maxShares) }

// write writes a value to a cgroup's file.
func write(dir, file string, value int64) error {
	name := filepath.Join(dir, file)
	if err := os.WriteFile(name, []byte(strconv.FormatInt(value, 10)), 0o644); err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return nil
}

// removeTree removes a cgroup and those below it. The kernel refuses while processes are in one.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
