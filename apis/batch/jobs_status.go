package batch

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// validateJobStatus keeps a controller from saying what contradicts itself:
// a finished job stays as it ended.
func validateJobStatus(_ context.Context, obj, old *batchv1.Job) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at, s := field.NewPath("status"), &obj.Status
	errs = append(errs, validate.NonNegative(s.Active, at.Child("active"))...)
	errs = append(errs, validate.NonNegative(s.Succeeded, at.Child("succeeded"))...)
	errs = append(errs, validate.NonNegative(s.Failed, at.Child("failed"))...)
	if s.Ready != nil {
		errs = append(errs, validate.NonNegative(*s.Ready, at.Child("ready"))...)
	}
	if s.Terminating != nil {
		errs = append(errs, validate.NonNegative(*s.Terminating, at.Child("terminating"))...)
	}
	complete, failed := holds(s, batchv1.JobComplete), holds(s, batchv1.JobFailed)
	if complete && failed {
		errs = append(errs, field.Invalid(at.Child("conditions"), field.OmitValueType{}, "cannot set Complete=True and Failed=true conditions"))
	}
	if s.CompletionTime != nil && !complete {
		errs = append(errs, field.Invalid(at.Child("completionTime"), s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	if complete && s.CompletionTime == nil {
		errs = append(errs, field.Required(at.Child("completionTime"), "completionTime is required for Complete jobs"))
	}
	for _, kind := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if holds(&old.Status, kind) && !holds(s, kind) {
			errs = append(errs, field.Invalid(at.Child("conditions"), field.OmitValueType{}, "cannot disable the terminal "+string(kind)+"=True condition"))
		}
	}
	return errs
}

func holds(s *batchv1.JobStatus, kind batchv1.JobConditionType) bool {
	for _, c := range s.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
