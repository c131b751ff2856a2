package policy

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/policy/v1"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func podDisruptionBudgets() resource.Definition[*policyv1.PodDisruptionBudget] {
	type B = *policyv1.PodDisruptionBudget
	return resource.Definition[B]{
		Resource:       policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"),
		Kind:           "PodDisruptionBudget",
		Singular:       "poddisruptionbudget",
		ShortNames:     []string{"pdb"},
		Object:         &policyv1.PodDisruptionBudget{},
		List:           &policyv1.PodDisruptionBudgetList{},
		Register:       declared.RegisterValidations,
		Validate:       validateBudget,
		Spec:           func(b B) any { return &b.Spec },
		Status:         func(b B) any { return &b.Status },
		ValidateStatus: validateBudgetStatus,
		Columns: []resource.Column[B]{
			{Name: "Min Available", Type: "string", Help: "The minimum number of pods that must be available.", Value: func(b B) any { return orNone(b.Spec.MinAvailable) }},
			{Name: "Max Unavailable", Type: "string", Help: "The maximum number of pods that may be unavailable.", Value: func(b B) any { return orNone(b.Spec.MaxUnavailable) }},
			{Name: "Allowed Disruptions", Type: "integer", Help: "Calculated number of pods that may be disrupted at this time.", Value: func(b B) any { return int64(b.Status.DisruptionsAllowed) }},
		},
		NoUnconditionalUpdate: true,
	}
}

func orNone(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validateBudget(_ context.Context, obj, _ *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), obj.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(at, s, "minAvailable and maxUnavailable cannot be both set"))
	}
	if s.MinAvailable != nil {
		errs = append(errs, validate.IntOrPercent(*s.MinAvailable, at.Child("minAvailable"))...)
		errs = append(errs, validate.AtMostAll(*s.MinAvailable, at.Child("minAvailable"))...)
	}
	if s.MaxUnavailable != nil {
		errs = append(errs, validate.IntOrPercent(*s.MaxUnavailable, at.Child("maxUnavailable"))...)
		errs = append(errs, validate.AtMostAll(*s.MaxUnavailable, at.Child("maxUnavailable"))...)
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		errs = append(errs, validate.Enum(*p, at.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

func validateBudgetStatus(_ context.Context, obj, old *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	errs = validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at, s := field.NewPath("status"), obj.Status
	errs = append(errs, metavalidation.ValidateConditions(s.Conditions, at.Child("conditions"))...)
	for _, n := range []struct {
		name  string
		value int32
	}{{"disruptionsAllowed", s.DisruptionsAllowed}, {"currentHealthy", s.CurrentHealthy}, {"desiredHealthy", s.DesiredHealthy}, {"expectedPods", s.ExpectedPods}} {
		errs = append(errs, validation.ValidateNonnegativeField(int64(n.value), at.Child(n.name))...)
	}
	return errs
}
