package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DefaultPodRequests fills pod-level requests from what the containers ask for
// and from the pod-level limits, for the resources that pods may set as a whole.
func DefaultPodRequests(s *corev1.PodSpec) {
	r := s.Resources
	if r == nil || (r.Requests == nil && r.Limits == nil) {
		return
	}
	requests := r.Requests
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	for name, q := range aggregateRequests(s) {
		_, set := requests[name]
		_, limited := r.Limits[name]
		if !set && podLevel(name) && (!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || !limited) {
			requests[name] = q
		}
	}
	for name, q := range r.Limits {
		if _, set := requests[name]; !set && podLevel(name) {
			requests[name] = q.DeepCopy()
		}
	}
	if len(requests) > 0 {
		r.Requests = requests
	}
}

// podLevel reports whether a resource can be set for a pod as a whole.
func podLevel(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// aggregateRequests adds up what containers request: the containers and
// restartable init containers together, or the neediest init container.
func aggregateRequests(s *corev1.PodSpec) corev1.ResourceList {
	total := corev1.ResourceList{}
	for i := range s.Containers {
		addList(total, s.Containers[i].Resources.Requests)
	}
	sidecars, peak := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range s.InitContainers {
		c := &s.InitContainers[i]
		need := corev1.ResourceList{}
		addList(need, c.Resources.Requests)
		addList(need, sidecars)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			addList(total, c.Resources.Requests)
			addList(sidecars, c.Resources.Requests)
			need = sidecars
		}
		maxList(peak, need)
	}
	maxList(total, peak)
	return total
}

func addList(to, from corev1.ResourceList) {
	for name, q := range from {
		sum := to[name].DeepCopy()
		sum.Add(q)
		to[name] = sum
	}
}

func maxList(to, from corev1.ResourceList) {
	for name, q := range from {
		if have, ok := to[name]; !ok || q.Cmp(have) > 0 {
			to[name] = q.DeepCopy()
		}
	}
}
