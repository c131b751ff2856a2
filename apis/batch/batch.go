// Package batch defines the resources of the batch API group.
package batch

import (
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	declared "skiff/apis/declarative/batch/v1"
	"skiff/apis/resource"
)

var (
	group    = batchv1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// gates are the features that decide about declared rules.
func gates() map[string]bool { return map[string]bool{"WorkloadWithJob": false} }

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{cronJobs(), jobs()} }

func setTo[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}

// containerColumns are the columns -o wide adds for a pod template.
func containerColumns[T resource.Object](template func(T) *corev1.PodTemplateSpec) []resource.Column[T] {
	list := func(value func(corev1.Container) string) func(T) any {
		return func(obj T) any {
			var out []string
			for _, c := range template(obj).Spec.Containers {
				out = append(out, value(c))
			}
			return strings.Join(out, ",")
		}
	}
	return []resource.Column[T]{
		{Name: "Containers", Type: "string", Priority: 1, Help: "Names of each container in the template.", Value: list(func(c corev1.Container) string { return c.Name })},
		{Name: "Images", Type: "string", Priority: 1, Help: "Images referenced by each container in the template.", Value: list(func(c corev1.Container) string { return c.Image })},
	}
}
