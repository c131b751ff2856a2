package batch

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff/apis/validate"
)

// validateJobStatus keeps a controller from saying what contradicts itself: a
// finished job stays as it ended (KEP-4368). A rule is looked at when what it
// is about changes, so that a status that was bad before can still be mended.
func validateJobStatus(_ context.Context, obj, old *batchv1.Job) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	c := newJobChange(obj, old)
	errs = append(errs, validateCounts(c.s, c.at)...)
	errs = append(errs, c.checkCompletion()...)
	errs = append(errs, c.checkReasons()...)
	errs = append(errs, c.checkFinished()...)
	errs = append(errs, c.checkIndexes()...)
	errs = append(errs, c.checkPods()...)
	errs = append(errs, c.checkSuccess()...)
	return append(errs, c.checkTransition()...)
}

// jobChange is an update of a job's status.
type jobChange struct {
	job    *batchv1.Job
	s, old *batchv1.JobStatus
	at     *field.Path
	// what holds now
	complete, failed, target, met, finished bool
	// what holds now and didn't, or the other way round
	completes, fails, targets, meets, finishes bool
}

func newJobChange(job, before *batchv1.Job) *jobChange {
	c := &jobChange{job: job, s: &job.Status, old: &before.Status, at: field.NewPath("status")}
	state := func(kind batchv1.JobConditionType) (now, changed bool) {
		now = holds(c.s, kind)
		return now, now != holds(c.old, kind)
	}
	c.complete, c.completes = state(batchv1.JobComplete)
	c.failed, c.fails = state(batchv1.JobFailed)
	c.target, c.targets = state(batchv1.JobFailureTarget)
	c.met, c.meets = state(batchv1.JobSuccessCriteriaMet)
	c.finished = c.complete || c.failed
	c.finishes = c.finished != (holds(c.old, batchv1.JobComplete) || holds(c.old, batchv1.JobFailed))
	return c
}

func holds(s *batchv1.JobStatus, kind batchv1.JobConditionType) bool {
	return has(s, kind, corev1.ConditionTrue)
}

func has(s *batchv1.JobStatus, kind batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	for _, c := range s.Conditions {
		if c.Type == kind && c.Status == status {
			return true
		}
	}
	return false
}

// conditions is an error about the conditions as a whole.
func (c *jobChange) conditions(why string) *field.Error {
	return field.Invalid(c.at.Child("conditions"), field.OmitValueType{}, why)
}

func validateCounts(s *batchv1.JobStatus, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.NonNegative(s.Active, at.Child("active"))...)
	errs = append(errs, validate.NonNegative(s.Succeeded, at.Child("succeeded"))...)
	errs = append(errs, validate.NonNegative(s.Failed, at.Child("failed"))...)
	if s.Ready != nil {
		errs = append(errs, validate.NonNegative(*s.Ready, at.Child("ready"))...)
	}
	if s.Terminating != nil {
		errs = append(errs, validate.NonNegative(*s.Terminating, at.Child("terminating"))...)
	}
	if s.UncountedTerminatedPods == nil {
		return errs
	}
	seen := map[types.UID]bool{}
	check := func(list []types.UID, at *field.Path) {
		for i, uid := range list {
			switch {
			case uid == "":
				errs = append(errs, field.Invalid(at.Index(i), uid, "must not be empty"))
			case seen[uid]:
				errs = append(errs, field.Duplicate(at.Index(i), uid))
			}
			seen[uid] = true
		}
	}
	check(s.UncountedTerminatedPods.Succeeded, at.Child("uncountedTerminatedPods", "succeeded"))
	check(s.UncountedTerminatedPods.Failed, at.Child("uncountedTerminatedPods", "failed"))
	return errs
}

func (c *jobChange) checkCompletion() (errs field.ErrorList) {
	at, s := c.at.Child("completionTime"), c.s
	timed := !ptr.Equal(c.old.CompletionTime, s.CompletionTime)
	started := !ptr.Equal(c.old.StartTime, s.StartTime)
	if (c.completes || c.fails) && c.complete && c.failed {
		errs = append(errs, c.conditions("cannot set Complete=True and Failed=true conditions"))
	}
	if (c.completes || c.targets) && c.complete && c.target {
		errs = append(errs, c.conditions("cannot set Complete=True and FailureTarget=true conditions"))
	}
	if (c.completes || timed) && s.CompletionTime != nil && !c.complete {
		errs = append(errs, field.Invalid(at, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	if (c.completes || timed) && s.CompletionTime == nil && c.complete {
		errs = append(errs, field.Required(at, "completionTime is required for Complete jobs"))
	}
	if (started || timed) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		errs = append(errs, field.Invalid(at, s.CompletionTime, "must be equal to or after `startTime`"))
	}
	return errs
}

// checkReasons demands that an end was announced before.
func (c *jobChange) checkReasons() (errs field.ErrorList) {
	if (c.fails || !ptr.Equal(c.old.FailedIndexes, c.s.FailedIndexes)) && c.failed && !c.target {
		errs = append(errs, c.conditions("cannot set Failed=True condition without the FailureTarget=true condition"))
	}
	if (c.completes || c.meets) && c.complete && !c.met {
		errs = append(errs, c.conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"))
	}
	return errs
}

func (c *jobChange) checkFinished() (errs field.ErrorList) {
	if !c.finished {
		return nil
	}
	s, spec := c.s, &c.job.Spec
	if (c.finishes || c.old.Active != s.Active) && s.Active > 0 {
		errs = append(errs, field.Invalid(c.at.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	nothing := ptr.Deref(spec.Suspend, false) && ptr.Deref(spec.Completions, -1) == 0
	if (c.finishes || !ptr.Equal(c.old.StartTime, s.StartTime)) && !nothing && s.StartTime == nil {
		errs = append(errs, field.Required(c.at.Child("startTime"), "startTime is required for finished job"))
	}
	uncounted := s.UncountedTerminatedPods
	if (c.finishes || !equality.Semantic.DeepEqual(c.old.UncountedTerminatedPods, uncounted)) && uncounted != nil && len(uncounted.Failed)+len(uncounted.Succeeded) > 0 {
		errs = append(errs, field.Invalid(c.at.Child("uncountedTerminatedPods"), validate.GoNames{Value: uncounted}, "must be empty for finished job"))
	}
	return errs
}

func (c *jobChange) checkIndexes() (errs field.ErrorList) {
	s, spec := c.s, &c.job.Spec
	completed, failed := c.old.CompletedIndexes != s.CompletedIndexes, !ptr.Equal(c.old.FailedIndexes, s.FailedIndexes)
	atCompleted, atFailed := c.at.Child("completedIndexes"), c.at.Child("failedIndexes")
	if completed && spec.Completions != nil {
		if _, err := countIndexes(s.CompletedIndexes, *spec.Completions); err != nil {
			errs = append(errs, field.Invalid(atCompleted, s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %v", err)))
		}
	}
	if failed && spec.Completions != nil && spec.BackoffLimitPerIndex != nil && s.FailedIndexes != nil {
		if _, err := countIndexes(*s.FailedIndexes, *spec.Completions); err != nil {
			errs = append(errs, field.Invalid(atFailed, s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %v", err)))
		}
	}
	if completed && s.CompletedIndexes != "" && ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) != batchv1.IndexedCompletion {
		errs = append(errs, field.Invalid(atCompleted, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
	}
	if failed && spec.BackoffLimitPerIndex == nil && s.FailedIndexes != nil {
		errs = append(errs, field.Invalid(atFailed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
	}
	if (failed || completed) && spec.Completions != nil && s.FailedIndexes != nil {
		if n, ok := overlap(indexIntervals(s.CompletedIndexes, *spec.Completions), indexIntervals(*s.FailedIndexes, *spec.Completions)); ok {
			errs = append(errs, field.Invalid(atFailed, *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", n)))
		}
	}
	return errs
}

func (c *jobChange) checkPods() (errs field.ErrorList) {
	s := c.s
	if (c.finishes || !ptr.Equal(c.old.Terminating, s.Terminating)) && c.finished && ptr.Deref(s.Terminating, 0) > 0 {
		errs = append(errs, field.Invalid(c.at.Child("terminating"), s.Terminating, "terminating>0 is invalid for finished job"))
	}
	if (!ptr.Equal(c.old.Ready, s.Ready) || c.old.Active != s.Active) && s.Ready != nil && *s.Ready > s.Active {
		errs = append(errs, field.Invalid(c.at.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
	return errs
}

func (c *jobChange) checkSuccess() (errs field.ErrorList) {
	if c.met && c.failed {
		errs = append(errs, c.conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions"))
	}
	if c.met && c.target {
		errs = append(errs, c.conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"))
	}
	if c.job.Spec.SuccessPolicy != nil && !c.met && c.complete {
		errs = append(errs, c.conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"))
	}
	return errs
}

// checkTransition refuses to take back what a status said.
func (c *jobChange) checkTransition() (errs field.ErrorList) {
	s, old, spec := c.s, c.old, &c.job.Spec
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if holds(old, kind) && !holds(s, kind) {
			errs = append(errs, c.conditions(fmt.Sprintf("cannot disable the terminal %s=True condition", kind)))
		}
	}
	if s.Failed < old.Failed {
		errs = append(errs, field.Invalid(c.at.Child("failed"), s.Failed, "cannot decrease the failed counter"))
	}
	elastic := ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion && ptr.Equal(spec.Completions, spec.Parallelism)
	if s.Succeeded < old.Succeeded && !elastic {
		errs = append(errs, field.Invalid(c.at.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter"))
	}
	if s.CompletionTime != nil && old.CompletionTime != nil && !ptr.Equal(s.CompletionTime, old.CompletionTime) {
		errs = append(errs, field.Invalid(c.at.Child("completionTime"), s.CompletionTime, validate.Immutable))
	}
	resumes := holds(old, batchv1.JobSuspended) && has(s, batchv1.JobSuspended, corev1.ConditionFalse)
	if old.StartTime != nil && !ptr.Equal(old.StartTime, s.StartTime) && !resumes && !ptr.Deref(spec.Suspend, false) {
		errs = append(errs, field.Invalid(c.at.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set"))
	}
	if holds(old, batchv1.JobSuccessCriteriaMet) && !c.met {
		errs = append(errs, c.conditions("cannot disable the SuccessCriteriaMet=True condition"))
	}
	if holds(old, batchv1.JobComplete) && !holds(old, batchv1.JobSuccessCriteriaMet) && c.met {
		errs = append(errs, c.conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"))
	}
	return errs
}
