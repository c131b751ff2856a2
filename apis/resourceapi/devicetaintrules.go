package resourceapi

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
)

func deviceTaintRules() resource.Definition[*resourcev1.DeviceTaintRule] {
	type R = *resourcev1.DeviceTaintRule
	return resource.Definition[R]{
		Resource:      group.WithResource("devicetaintrules"),
		Kind:          "DeviceTaintRule",
		Singular:      "devicetaintrule",
		ClusterScoped: true,
		Object:        &resourcev1.DeviceTaintRule{},
		List:          &resourcev1.DeviceTaintRuleList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		NameOnce:      true,
		Default:       func(r R) { defaultTaint(&r.Spec.Taint) },
		Validate: func(_ context.Context, obj, old R) field.ErrorList {
			at := field.NewPath("spec")
			errs := validateTaintSelector(obj.Spec.DeviceSelector, at.Child("deviceSelector"))
			var before *resourcev1.DeviceTaint
			if old != nil {
				before = &old.Spec.Taint
			}
			return append(errs, validateTaint(&obj.Spec.Taint, before, at.Child("taint"))...)
		},
		Spec:   func(r R) any { return &r.Spec },
		Status: func(r R) any { return &r.Status },
		PrepareStatus: func(_ context.Context, obj, old R) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus: func(_ context.Context, obj, old R) field.ErrorList {
			errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
			at := field.NewPath("status", "conditions")
			errs = append(errs, metavalidation.ValidateConditions(obj.Status.Conditions, at)...)
			if n := len(obj.Status.Conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
				errs = append(errs, field.TooMany(at, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
			}
			return errs
		},
		StatusResetFields: []string{"metadata", "spec"},

		NoUnconditionalUpdate: true,
	}
}
