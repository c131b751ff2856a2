package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	helpers "k8s.io/component-helpers/resource"
)

// DefaultPodResources fills the resources of a new pod as a whole, where the
// user gave any, from what its containers have (KEP-2837). The order matters:
// limits of huge pages, then requests, then all other limits.
func DefaultPodResources(s *corev1.PodSpec) {
	r := s.Resources
	if r == nil || len(r.Requests)+len(r.Limits) == 0 {
		return
	}
	containers := &corev1.Pod{Spec: corev1.PodSpec{Containers: s.Containers, InitContainers: s.InitContainers}}
	limits := helpers.AggregateContainerLimits(containers, helpers.PodResourcesOptions{})
	for name, q := range limits {
		if _, requested := r.Requests[name]; hugePages(name) && !requested {
			fill(&r.Limits, name, q)
		}
	}
	for name, q := range helpers.AggregateContainerRequests(containers, helpers.PodResourcesOptions{}) {
		if podLevel(name) && !hugePages(name) {
			fill(&r.Requests, name, q)
		}
	}
	for name, q := range r.Limits {
		if podLevel(name) {
			fill(&r.Requests, name, q)
		}
	}
	for name, q := range r.Requests {
		most, ok := limits[name]
		if !ok || !podLevel(name) || !allLimited(s, name) {
			continue
		}
		if q.Cmp(most) > 0 {
			most = q
		}
		fill(&r.Limits, name, most)
	}
}

// fill sets what the list does not have.
func fill(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	if _, ok := (*list)[name]; ok {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q.DeepCopy()
}

func allLimited(s *corev1.PodSpec, name corev1.ResourceName) bool {
	all := true
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) {
		_, ok := c.Resources.Limits[name]
		all = all && ok
	})
	return all
}

// podLevel reports whether a resource may be given for the pod as a whole.
func podLevel(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}
