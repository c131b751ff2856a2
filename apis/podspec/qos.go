package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOS is the quality of service that a pod's requests and limits of CPU and
// memory earn it: Guaranteed when all are limited to what they request,
// BestEffort when none asks for anything, else Burstable.
func QOS(s *corev1.PodSpec) corev1.PodQOSClass {
	counted := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	positive := func(to, from corev1.ResourceList) (found int) {
		for name, q := range from {
			if slices.Contains(counted, name) && q.Cmp(resource.Quantity{}) > 0 {
				sum := to[name].DeepCopy()
				sum.Add(q)
				to[name] = sum
				found++
			}
		}
		return found
	}
	if r := s.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		positive(requests, r.Requests)
		guaranteed = positive(limits, r.Limits) == len(counted)
	} else {
		for _, c := range slices.Concat(s.Containers, s.InitContainers) {
			positive(requests, c.Resources.Requests)
			if positive(limits, c.Resources.Limits) != len(counted) {
				guaranteed = false
			}
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return corev1.PodQOSBestEffort
	}
	if guaranteed && len(requests) == len(limits) {
		for name, q := range requests {
			if lim, ok := limits[name]; !ok || lim.Cmp(q) != 0 {
				return corev1.PodQOSBurstable
			}
		}
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
