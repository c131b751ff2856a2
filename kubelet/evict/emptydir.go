package evict

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/internal/diskuse"
)

const (
	// emptyDirs is where the volumes package keeps a pod's directories below the pod's own.
	emptyDirs = "volumes/kubernetes.io~empty-dir"
	// atOnce is the grace of a pod that broke a limit of its own.
	atOnce = time.Second
)

// measureFunc answers the bytes that a volume of a pod takes.
type measureFunc func(p *corev1.Pod, volume string) (int64, error)

// Overfull is an emptyDir that holds more than its sizeLimit.
type Overfull struct {
	Pod    *corev1.Pod
	Volume string
	Limit  string
}

// overfull finds the first such volume of each pod that may be evicted. Volumes in memory are left out: the kernel keeps
// them within their size. What can't be measured is passed over, and its error answered with the others.
func overfull(pods []*corev1.Pod, measure measureFunc) ([]Overfull, error) {
	var out []Overfull
	var failures []error
	for _, p := range pods {
		if !evictable(p) {
			continue
		}
		for i := range p.Spec.Volumes {
			name, source := p.Spec.Volumes[i].Name, p.Spec.Volumes[i].EmptyDir
			if source == nil || source.Medium == corev1.StorageMediumMemory || source.SizeLimit == nil || source.SizeLimit.Sign() <= 0 {
				continue
			}
			used, err := measure(p, name)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			if used > source.SizeLimit.Value() {
				out = append(out, Overfull{p, name, source.SizeLimit.String()})
				break
			}
		}
	}
	return out, errors.Join(failures...)
}

// enforceLimits evicts the pods whose emptyDirs are overfull, and says whether there were any.
func (m *Manager) enforceLimits() (evicted bool, err error) {
	found, err := overfull(m.deps.Pods.Pods(), m.measure)
	for _, v := range found {
		text := fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Volume, v.Limit)
		m.deps.Recorder.Event(v.Pod, "", corev1.EventTypeWarning, "Evicted", text)
		m.deps.Pods.Evict(v.Pod.UID, "Evicted", text, atOnce)
	}
	return len(found) > 0, err
}

// onDisk measures the emptyDirs below the kubelet's directory root.
func onDisk(root string) measureFunc {
	return func(p *corev1.Pod, volume string) (int64, error) {
		bytes, _, err := diskuse.Of(filepath.Join(root, "pods", string(p.UID), emptyDirs, volume))
		return bytes, err
	}
}
