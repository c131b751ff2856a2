package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func limitRanges() resource.Resource {
	return resource.Definition[*corev1.LimitRange]{
		Resource:   corev1.SchemeGroupVersion.WithResource("limitranges"),
		Kind:       "LimitRange",
		Singular:   "limitrange",
		ShortNames: []string{"limits"},
		Object:     &corev1.LimitRange{},
		List:       &corev1.LimitRangeList{},
		Name:       apivalidation.NameIsDNSSubdomain,
		Default:    defaultLimitRange,
		Prepare: func(_ context.Context, r, old *corev1.LimitRange) {
			if old == nil && r.Name == "" {
				r.Name = string(uuid.NewUUID())
			}
		},
		Validate: func(_ context.Context, r, _ *corev1.LimitRange) field.ErrorList { return validateLimitRange(r) },
	}
}

// defaultLimitRange derives what a container gets from what it may have at
// most and at least.
func defaultLimitRange(r *corev1.LimitRange) {
	for i := range r.Spec.Limits {
		l := &r.Spec.Limits[i]
		for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
			podspec.RoundUp(list)
		}
		if l.Type != corev1.LimitTypeContainer {
			continue
		}
		fill := func(to *corev1.ResourceList, from corev1.ResourceList) {
			if *to == nil {
				*to = corev1.ResourceList{}
			}
			for name, q := range from {
				if _, ok := (*to)[name]; !ok {
					(*to)[name] = q.DeepCopy()
				}
			}
		}
		fill(&l.Default, l.Max)
		fill(&l.DefaultRequest, l.Default)
		fill(&l.DefaultRequest, l.Min)
	}
}
