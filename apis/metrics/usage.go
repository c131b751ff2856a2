package metrics

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// youngest is how long a container must have run before what it used since its
// start says anything (metrics-server's figure).
const youngest = 10 * time.Second

// point is what something had used at a time.
type point struct {
	start  time.Time // when the counter was 0; zero if nobody said
	at     time.Time
	cpu    time.Duration // of one processor, since start
	memory int64         // working set in bytes
}

// sample is what one kubelet told.
type sample struct {
	node *point // nil if the kubelet told less than all of it
	pods map[types.NamespacedName]map[string]point
}

// series is the last point of something, and the one that a rate is counted from.
type series struct {
	last   point
	before *point // nil while there is none
}

// usage is a rate over a window, with the memory at its end.
type usage struct {
	cpu    int64 // in billionths of a processor
	memory int64
	at     time.Time
	window time.Duration
}

// history is what is known of one node. It never changes: add answers another.
type history struct {
	samples int
	taken   time.Time // when the node answered last, by this host's clock
	node    *series
	pods    map[types.NamespacedName]map[string]series
}

// add answers the history with one sample more, taken now. What the sample
// doesn't name is forgotten.
func (h history) add(s sample, now time.Time) history {
	next := history{samples: h.samples + 1, taken: now, pods: make(map[types.NamespacedName]map[string]series, len(s.pods))}
	if s.node != nil {
		n := h.node.add(*s.node)
		next.node = &n
	}
	seen := h.until()
	for pod, containers := range s.pods {
		known := make(map[string]series, len(containers))
		for name, p := range containers {
			var old *series
			if o, ok := h.pods[pod][name]; ok {
				old = &o
			}
			if known[name] = old.add(p); sinceStart(p, old, seen) {
				known[name] = series{last: p, before: &point{start: p.start, at: p.start}}
			}
		}
		next.pods[pod] = known
	}
	return next
}

// until is the time, by the node's clock, up to which all of its containers are
// known; zero if nothing is.
func (h history) until() time.Time {
	if h.node == nil {
		return time.Time{}
	}
	return h.node.last.at
}

// sinceStart reports whether a container's rate is counted from its start. That
// is so for one that is old enough to have a rate and too young to have been
// seen before, or that started since everything was looked at.
func sinceStart(p point, old *series, seen time.Time) bool {
	age := p.at.Sub(p.start)
	if p.start.IsZero() || age < youngest {
		return false
	}
	return age < resolution || old == nil && !seen.IsZero() && p.start.After(seen)
}

// add continues a series, nil for a new one.
func (s *series) add(p point) series {
	switch {
	case s == nil, !p.start.Before(s.last.at) && !p.start.IsZero(), p.cpu < s.last.cpu:
		return series{last: p} // new, or started anew
	case p.at.After(s.last.at):
		last := s.last
		return series{last: p, before: &last}
	case s.before != nil && s.before.at.Before(p.at) && s.before.cpu <= p.cpu:
		return series{last: p, before: s.before} // the same reading once more
	}
	return series{last: p}
}

// usage answers false while there are no two points.
func (s series) usage() (usage, bool) {
	if s.before == nil {
		return usage{}, false
	}
	window := s.last.at.Sub(s.before.at)
	cpu := float64(s.last.cpu-s.before.cpu) / window.Seconds()
	return usage{cpu: int64(cpu), memory: s.last.memory, at: s.last.at, window: window}, true
}

func (u usage) resources() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *apiresource.NewScaledQuantity(u.cpu, apiresource.Nano),
		corev1.ResourceMemory: *apiresource.NewQuantity(u.memory, apiresource.BinarySI),
	}
}

// nodeMetrics answers false while nothing is known of the node.
func (h history) nodeMetrics(node *corev1.Node, now time.Time) (metricsv1beta1.NodeMetrics, bool) {
	if h.node == nil {
		return metricsv1beta1.NodeMetrics{}, false
	}
	u, ok := h.node.usage()
	return metricsv1beta1.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, CreationTimestamp: metav1.NewTime(now)},
		Timestamp:  metav1.NewTime(u.at), Window: metav1.Duration{Duration: u.window}, Usage: u.resources(),
	}, ok
}

// podMetrics answers false until every container of the pod has a rate: a sum
// without one of them would mislead whoever scales by it.
func (h history) podMetrics(pod *corev1.Pod, now time.Time) (metricsv1beta1.PodMetrics, bool) {
	containers := h.pods[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]
	if pod.Status.Phase != corev1.PodRunning || len(containers) == 0 {
		return metricsv1beta1.PodMetrics{}, false
	}
	m := metricsv1beta1.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, CreationTimestamp: metav1.NewTime(now)},
		Containers: make([]metricsv1beta1.ContainerMetrics, 0, len(containers)),
	}
	for _, name := range slices.Sorted(maps.Keys(containers)) {
		u, ok := containers[name].usage()
		if !ok {
			return metricsv1beta1.PodMetrics{}, false
		}
		if m.Timestamp.IsZero() || u.at.Before(m.Timestamp.Time) {
			m.Timestamp, m.Window = metav1.NewTime(u.at), metav1.Duration{Duration: u.window}
		}
		m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: name, Usage: u.resources()})
	}
	return m, true
}

// points counts the rates that can be answered: of nodes, and of containers.
func (h history) points() (nodes, containers int) {
	if h.node != nil && h.node.before != nil {
		nodes = 1
	}
	for _, pod := range h.pods {
		for _, s := range pod {
			if s.before != nil {
				containers++
			}
		}
	}
	return nodes, containers
}
