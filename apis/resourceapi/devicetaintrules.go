package resourceapi

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
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
		Default:       func(r R) { defaultTaint(&r.Spec.Taint) },
		Validate: func(_ context.Context, obj, old R) field.ErrorList {
			at := field.NewPath("spec")
			errs := validateTaint(&obj.Spec.Taint, at.Child("taint"))
			if old != nil {
				errs = append(errs, validation.ValidateImmutableField(obj.Spec.DeviceSelector, old.Spec.DeviceSelector, at.Child("deviceSelector"))...)
			}
			return errs
		},
		Spec:   func(r R) any { return &r.Spec },
		Status: func(r R) any { return &r.Status },
		PrepareStatus: func(_ context.Context, obj, old R) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus: func(_ context.Context, obj, old R) field.ErrorList {
			errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
			return append(errs, metavalidation.ValidateConditions(obj.Status.Conditions, field.NewPath("status", "conditions"))...)
		},
		StatusResetFields: []string{"metadata", "spec"},

		NoUnconditionalUpdate: true,
	}
}

// defaultTaint dates a taint, for tolerations that end.
func defaultTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		now := metav1.Now().Rfc3339Copy()
		t.TimeAdded = &now
	}
}

func validateTaint(t *resourcev1.DeviceTaint, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	if t.Value != "" {
		errs = append(errs, validate.All(at.Child("value"), t.Value, utilvalidation.IsValidLabelValue(t.Value))...)
	}
	return errs
}
