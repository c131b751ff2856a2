package resourceapi

import (
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

// defaultTaint dates a taint, for tolerations that end.
func defaultTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		now := metav1.Now().Rfc3339Copy()
		t.TimeAdded = &now
	}
}

// validateTaint leaves an effect alone that was there before.
func validateTaint(t, old *resourcev1.DeviceTaint, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	if t.Value != "" {
		errs = append(errs, validateLabelValue(t.Value, at.Child("value"))...)
	}
	if old != nil && old.Effect == t.Effect {
		return errs
	}
	return append(errs, validate.RequiredEnum(t.Effect, at.Child("effect"),
		resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone).MarkCoveredByDeclarative()...)
}

func validateToleration(t *resourcev1.DeviceToleration, at *field.Path) (errs field.ErrorList) {
	if t.Key != "" {
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key")).MarkCoveredByDeclarative()...)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
		}
	case resourcev1.DeviceTolerationOpEqual:
		errs = append(errs, validateLabelValue(t.Value, at.Child("value"))...)
	}
	return errs // the operator and the effect themselves are declared
}

// validateTaintSelector checks what a rule taints.
func validateTaintSelector(s *resourcev1.DeviceTaintSelector, at *field.Path) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	if s.Driver != nil {
		errs = append(errs, podspec.ValidateCSIDriverName(*s.Driver, at.Child("driver"))...)
	}
	if s.Pool != nil {
		errs = append(errs, validatePoolName(*s.Pool, at.Child("pool"))...)
	}
	if s.Device != nil {
		errs = append(errs, validate.DNSLabel(*s.Device, at.Child("device"))...)
	}
	return errs
}
