package batch

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const (
	maxParallelism       = 100000 // of an indexed job
	maxFailed            = 100000
	manyCompletions      = 100000
	parallelismOfMany    = 10000
	failedOfMany         = 10000
	longestManagedBy     = 63
	indexedLabelTooLong  = "will not able to create pod with invalid DNS label: %s"
	requiresIndexed      = "requires indexed completion mode"
	mustBeAtMost         = "must be less than or equal to %d"
	whenManyCompletions  = "must be less than or equal to %d when completions are above %d and used with backoffLimitPerIndex"
	requiredWhenMany     = "must be specified when completions is above %d"
	notMatchingTemplate  = "`selector` does not match template `labels`"
	notGeneratedSelector = "`selector` not auto-generated"
)

func validateJob(_ context.Context, obj, old *batchv1.Job) field.ErrorList {
	at, s := field.NewPath("spec"), &obj.Spec
	if old != nil {
		return append(validateWithSelector(s, &old.Spec.Template, at), validateJobUpdate(s, &old.Spec, at)...)
	}
	errs := validateGenerated(obj)
	errs = append(errs, validateWithSelector(s, nil, at)...)
	if indexed(s) && s.Completions != nil && *s.Completions > 0 {
		host := fmt.Sprintf("%s-%d", obj.Name, *s.Completions-1)
		if len(validation.NameIsDNSLabel(host, false)) > 0 {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), obj.Name, fmt.Sprintf(indexedLabelTooLong, host)))
		}
	}
	return errs
}

// validateGenerated checks the labels that make the pods the job's own.
func validateGenerated(j *batchv1.Job) (errs field.ErrorList) {
	if (j.Spec.ManualSelector != nil && *j.Spec.ManualSelector) || j.Spec.Selector == nil {
		return nil
	}
	if j.UID == "" {
		errs = append(errs, field.Required(field.NewPath("metadata").Child("uid"), ""))
	}
	at := field.NewPath("spec", "template", "metadata")
	uid := string(j.UID)
	want := labels.Set{legacyControllerUID: uid, legacyJobName: j.Name, batchv1.ControllerUidLabel: uid, batchv1.JobNameLabel: j.Name}
	for _, key := range []string{legacyControllerUID, legacyJobName, batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		errs = append(errs, validateLabel(j.Spec.Template.Labels, key, want[key], at)...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(want) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, notGeneratedSelector))
	}
	return errs
}

func validateLabel(have map[string]string, key, want string, at *field.Path) field.ErrorList {
	actual, found := have[key]
	switch {
	case !found:
		return field.ErrorList{field.Required(at.Child("labels").Key(key), fmt.Sprintf("must be '%s'", want))}
	case actual != want:
		return field.ErrorList{field.Invalid(at.Child("labels").Key(key), have, fmt.Sprintf("must be '%s'", want))}
	}
	return nil
}

func validateWithSelector(s *batchv1.JobSpec, old *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	errs := validateSpec(s, old, at)
	if s.Selector == nil {
		errs = append(errs, field.Required(at.Child("selector"), ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(at.Child("template", "metadata", "labels"), s.Template.Labels, notMatchingTemplate))
	}
	return errs
}

func indexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

// validateSpec checks what jobs and the job templates of cron jobs share.
func validateSpec(s *batchv1.JobSpec, old *corev1.PodTemplateSpec, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateNumbers(s, at)...)
	if s.ManagedBy != nil {
		errs = append(errs, utilvalidation.IsDomainPrefixedPath(at.Child("managedBy"), *s.ManagedBy)...)
		if len(*s.ManagedBy) > longestManagedBy {
			errs = append(errs, field.TooLong(at.Child("managedBy"), "", longestManagedBy))
		}
	}
	errs = append(errs, validateMode(s, at)...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(s, at.Child("podFailurePolicy"))...)
	}
	if s.SuccessPolicy != nil {
		if indexed(s) {
			errs = append(errs, validateSuccessPolicy(s, at.Child("successPolicy"))...)
		} else {
			errs = append(errs, field.Invalid(at.Child("successPolicy"), validate.GoNames{Value: s.SuccessPolicy}, requiresIndexed))
		}
	}
	errs = append(errs, validateReplacement(s, at.Child("podReplacementPolicy"))...)
	return append(errs, validateTemplate(s, old, at.Child("template"))...)
}

func validateNumbers(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	check := func(name string, n *int32) {
		if n != nil {
			errs = append(errs, validate.NonNegative(*n, at.Child(name))...)
		}
	}
	check("parallelism", s.Parallelism)
	check("completions", s.Completions)
	if n := s.ActiveDeadlineSeconds; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("activeDeadlineSeconds"))...)
	}
	check("backoffLimit", s.BackoffLimit)
	check("ttlSecondsAfterFinished", s.TTLSecondsAfterFinished)
	check("backoffLimitPerIndex", s.BackoffLimitPerIndex)
	check("maxFailedIndexes", s.MaxFailedIndexes)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	return errs
}

func validateMode(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	if s.CompletionMode != nil {
		errs = append(errs, validate.Enum(*s.CompletionMode, at.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
	}
	if indexed(s) {
		return append(errs, validateIndexed(s, at)...)
	}
	if s.CompletionMode != nil && *s.CompletionMode != batchv1.NonIndexedCompletion {
		return errs
	}
	if s.BackoffLimitPerIndex != nil {
		errs = append(errs, field.Invalid(at.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, requiresIndexed))
	}
	if s.MaxFailedIndexes != nil {
		errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, requiresIndexed))
	}
	return errs
}

func validateIndexed(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	if s.Completions == nil {
		errs = append(errs, field.Required(at.Child("completions"), "when completion mode is Indexed"))
	}
	if s.Parallelism != nil && *s.Parallelism > maxParallelism {
		errs = append(errs, field.Invalid(at.Child("parallelism"), *s.Parallelism, fmt.Sprintf(mustBeAtMost+" when completion mode is Indexed", maxParallelism)))
	}
	failed := at.Child("maxFailedIndexes")
	if s.Completions != nil && s.MaxFailedIndexes != nil {
		if *s.MaxFailedIndexes > *s.Completions {
			errs = append(errs, field.Invalid(failed, *s.MaxFailedIndexes, "must be less than or equal to completions"))
		}
		if *s.MaxFailedIndexes > maxFailed {
			errs = append(errs, field.Invalid(failed, *s.MaxFailedIndexes, fmt.Sprintf(mustBeAtMost, maxFailed)))
		}
	}
	if s.Completions == nil || *s.Completions <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return errs
	}
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(failed, fmt.Sprintf(requiredWhenMany, manyCompletions)))
	}
	if s.Parallelism != nil && *s.Parallelism > parallelismOfMany {
		errs = append(errs, field.Invalid(at.Child("parallelism"), *s.Parallelism, fmt.Sprintf(whenManyCompletions, parallelismOfMany, manyCompletions)))
	}
	if s.MaxFailedIndexes != nil && *s.MaxFailedIndexes > failedOfMany {
		errs = append(errs, field.Invalid(failed, *s.MaxFailedIndexes, fmt.Sprintf(whenManyCompletions, failedOfMany, manyCompletions)))
	}
	return errs
}

func validateReplacement(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	switch {
	case s.PodReplacementPolicy == nil:
		return nil
	case s.PodFailurePolicy != nil:
		return validate.Enum(*s.PodReplacementPolicy, at, batchv1.Failed)
	}
	return validate.Enum(*s.PodReplacementPolicy, at, batchv1.Failed, batchv1.TerminatingOrFailed)
}

func validateJobUpdate(s, old *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	if !validateSame(s.Completions, old.Completions) {
		inTandem := indexed(s) && s.Completions != nil && s.Parallelism != nil && *s.Completions == *s.Parallelism
		switch {
		case indexed(s) && s.Completions == nil: // refused already
		case !indexed(s):
			errs = append(errs, field.Invalid(at.Child("completions"), s.Completions, validation.FieldImmutableErrorMsg))
		case !inTandem:
			errs = append(errs, field.Invalid(at.Child("completions"), s.Completions, "can only be modified in tandem with "+at.Child("parallelism").String()))
		}
	}
	errs = append(errs, validation.ValidateImmutableField(s.Selector, old.Selector, at.Child("selector"))...)
	errs = append(errs, validateTemplateUpdate(s, old, at.Child("template"))...)
	errs = append(errs, validation.ValidateImmutableField(s.CompletionMode, old.CompletionMode, at.Child("completionMode"))...)
	errs = append(errs, sameGo(s.PodFailurePolicy, old.PodFailurePolicy, at.Child("podFailurePolicy"))...)
	errs = append(errs, validation.ValidateImmutableField(s.BackoffLimitPerIndex, old.BackoffLimitPerIndex, at.Child("backoffLimitPerIndex"))...)
	errs = append(errs, validation.ValidateImmutableField(s.ManagedBy, old.ManagedBy, at.Child("managedBy"))...)
	return append(errs, sameGo(s.SuccessPolicy, old.SuccessPolicy, at.Child("successPolicy"))...)
}

// sameGo checks that a policy stays as it is; messages print it with Go's names.
func sameGo(p, old any, at *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(p, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, validate.GoNames{Value: p}, validation.FieldImmutableErrorMsg)}
}

func validateSame(a, b *int32) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// validateTemplateUpdate lets where the pods may run change while the job has
// not started: suspended, and never anything else.
func validateTemplateUpdate(s, old *batchv1.JobSpec, at *field.Path) field.ErrorList {
	template := &old.Template
	if old.Suspend != nil && *old.Suspend {
		template = template.DeepCopy()
		template.Annotations, template.Labels = s.Template.Annotations, s.Template.Labels
		template.Spec.NodeSelector, template.Spec.Affinity = s.Template.Spec.NodeSelector, s.Template.Spec.Affinity
		template.Spec.Tolerations, template.Spec.SchedulingGates = s.Template.Spec.Tolerations, s.Template.Spec.SchedulingGates
	}
	if equality.Semantic.DeepEqual(&s.Template, template) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, validate.GoNames{Value: s.Template}, validation.FieldImmutableErrorMsg)}
}
