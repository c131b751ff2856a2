package batch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

// longestCronJob leaves room for the suffix of the jobs' names.
const longestCronJob = 52

func cronJobs() resource.Definition[*batchv1.CronJob] {
	type C = *batchv1.CronJob
	return resource.Definition[C]{
		Resource:   group.WithResource("cronjobs"),
		Kind:       "CronJob",
		Singular:   "cronjob",
		ShortNames: []string{"cj"},
		Categories: []string{"all"},
		Object:     &batchv1.CronJob{},
		List:       &batchv1.CronJobList{},
		Register:   register,
		Gates:      gates(),
		Name:       validation.NameIsDNSSubdomain,
		NameOnce:   true,
		Default:    defaultCronJob,
		Prepare: func(_ context.Context, obj, old C) {
			obj.Spec.JobTemplate.Spec.Scheduling = nil
			if old == nil {
				prepareTemplate(&obj.Spec.JobTemplate.Spec.Template, nil)
			} else {
				prepareTemplate(&obj.Spec.JobTemplate.Spec.Template, &old.Spec.JobTemplate.Spec.Template)
			}
		},
		Validate: validateCronJob,
		Warn:     warnCronJob,
		Spec:     func(c C) any { return &c.Spec },
		Status:   func(c C) any { return &c.Status },
		Columns:  cronJobColumns(),
	}
}

func cronJobColumns() []resource.Column[*batchv1.CronJob] {
	type C = *batchv1.CronJob
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	columns := []resource.Column[C]{
		{Name: "Schedule", Type: "string", Help: spec["schedule"], Value: func(c C) any { return c.Spec.Schedule }},
		{Name: "Timezone", Type: "string", Help: spec["timeZone"], Value: func(c C) any {
			if c.Spec.TimeZone == nil {
				return "<none>"
			}
			return *c.Spec.TimeZone
		}},
		{Name: "Suspend", Type: "boolean", Help: spec["suspend"], Value: func(c C) any {
			switch {
			case c.Spec.Suspend == nil:
				return "<unset>"
			case *c.Spec.Suspend:
				return "True"
			}
			return "False"
		}},
		{Name: "Active", Type: "integer", Help: status["active"], Value: func(c C) any { return int64(len(c.Status.Active)) }},
		{Name: "Last Schedule", Type: "string", Help: status["lastScheduleTime"], Value: func(c C) any {
			if c.Status.LastScheduleTime == nil {
				return "<none>"
			}
			return resource.Age(*c.Status.LastScheduleTime)
		}},
		resource.AgeColumn[C](),
	}
	columns = append(columns, containerColumns(func(c C) *corev1.PodTemplateSpec { return &c.Spec.JobTemplate.Spec.Template })...)
	return append(columns, resource.Column[C]{Name: "Selector", Type: "string", Priority: 1, Help: batchv1.JobSpec{}.SwaggerDoc()["selector"], Value: func(c C) any {
		return metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector)
	}})
}

func defaultCronJob(c *batchv1.CronJob) {
	s := &c.Spec
	if s.ConcurrencyPolicy == "" {
		s.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	setTo(&s.Suspend, false)
	setTo(&s.SuccessfulJobsHistoryLimit, 3)
	setTo(&s.FailedJobsHistoryLimit, 1)
	podspec.SetTemplateDefaults(&s.JobTemplate.Spec.Template)
	defaultFailurePolicy(s.JobTemplate.Spec.PodFailurePolicy)
}

func validateCronJob(_ context.Context, obj, old *batchv1.CronJob) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	if s.Schedule != "" { // that there is one is declared by the type
		known := old != nil && strings.Contains(old.Spec.Schedule, "TZ")
		errs = append(errs, validateSchedule(s, known, at.Child("schedule"))...)
	}
	if n := s.StartingDeadlineSeconds; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("startingDeadlineSeconds"))...)
	}
	if z := s.TimeZone; z != nil && (old == nil || old.Spec.TimeZone == nil || *old.Spec.TimeZone != *z) {
		errs = append(errs, validateTimeZone(*z, at.Child("timeZone"))...)
	}
	errs = append(errs, validate.RequiredEnum(s.ConcurrencyPolicy, at.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	var was *corev1.PodTemplateSpec
	if old != nil {
		was = &old.Spec.JobTemplate.Spec.Template
	}
	errs = append(errs, validateJobTemplate(&s.JobTemplate.Spec, was, at.Child("jobTemplate", "spec"))...)
	if n := s.SuccessfulJobsHistoryLimit; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("successfulJobsHistoryLimit"))...)
	}
	if n := s.FailedJobsHistoryLimit; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("failedJobsHistoryLimit"))...)
	}
	if old == nil && len(obj.Name) > longestCronJob {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), obj.Name, fmt.Sprintf("must be no more than %d characters", longestCronJob)))
	}
	return errs
}

func validateSchedule(s *batchv1.CronJobSpec, zoneKnown bool, at *field.Path) (errs field.ErrorList) {
	if _, err := cron.ParseStandard(s.Schedule); err != nil {
		errs = append(errs, field.Invalid(at, s.Schedule, err.Error()))
	}
	switch zoned := strings.Contains(s.Schedule, "TZ"); {
	case zoned && s.TimeZone != nil:
		errs = append(errs, field.Invalid(at, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	case zoned && !zoneKnown:
		errs = append(errs, field.Invalid(at, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	return errs
}

func validateTimeZone(zone string, at *field.Path) field.ErrorList {
	if zone == "" {
		return field.ErrorList{field.Invalid(at, zone, "timeZone must be nil or non-empty string")}
	}
	if strings.EqualFold(zone, "Local") {
		return field.ErrorList{field.Invalid(at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")}
	}
	_, err := time.LoadLocation(zone)
	var failed syscall.Errno
	if errors.As(err, &failed) { // a name that can't be a file's is just not known
		err = fmt.Errorf("unknown time zone %s", zone)
	}
	if err != nil {
		return field.ErrorList{field.Invalid(at, zone, err.Error())}
	}
	return nil
}

func validateJobTemplate(s *batchv1.JobSpec, old *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	errs := validateSpec(s, old, at)
	if s.Selector != nil {
		errs = append(errs, field.Invalid(at.Child("selector"), s.Selector, "`selector` will be auto-generated"))
	}
	if s.ManualSelector != nil && *s.ManualSelector {
		errs = append(errs, field.NotSupported(at.Child("manualSelector"), *s.ManualSelector, []string{"nil", "false"}))
	}
	return errs
}

func warnCronJob(_ context.Context, obj, old *batchv1.CronJob) (out []string) {
	path := field.NewPath("spec", "jobTemplate", "spec")
	spec := &obj.Spec.JobTemplate.Spec
	if old == nil {
		out = podspec.WarnName(obj.Name, podspec.PodNamesAndHost)
	}
	if old == nil || obj.Generation != old.Generation {
		out = append(out, warnCompletions(spec, path)...)
		out = append(out, podspec.TemplateWarnings(&spec.Template, path.Child("template"))...)
	}
	if old != nil && strings.Contains(obj.Spec.Schedule, "TZ") {
		out = append(out, fmt.Sprintf("cannot use TZ or CRON_TZ in %s, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", field.NewPath("spec", "spec", "schedule")))
	}
	return out
}
