// Package autoscaling defines the resources of the autoscaling API group. The
// body of every /scale is of this group too, and belongs to what it scales.
package autoscaling

import (
	"k8s.io/apimachinery/pkg/runtime"

	declaredv1 "skiff/apis/declarative/autoscaling/v1"
	declaredv2 "skiff/apis/declarative/autoscaling/v2"
	"skiff/apis/resource"
)

// Resources lists what the group serves.
func Resources() []resource.Resource {
	return []resource.Resource{horizontalPodAutoscalers()}
}

func register(s *runtime.Scheme) error {
	if err := declaredv1.RegisterValidations(s); err != nil {
		return err
	}
	return declaredv2.RegisterValidations(s)
}

func setTo[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}
