package batch

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func jobs() resource.Definition[*batchv1.Job] {
	type J = *batchv1.Job
	return resource.Definition[J]{
		Resource:       group.WithResource("jobs"),
		Kind:           "Job",
		Singular:       "job",
		Categories:     []string{"all"},
		Object:         &batchv1.Job{},
		List:           &batchv1.JobList{},
		Register:       register,
		Gates:          gates(),
		Name:           validation.NameIsDNSSubdomain,
		NameOnce:       true,
		Default:        defaultJob,
		Prepare:        prepareJob,
		Validate:       validateJob,
		Warn:           warnJob,
		Spec:           func(j J) any { return &j.Spec },
		Status:         func(j J) any { return &j.Status },
		ValidateStatus: validateJobStatus,
		Fields: func(j J) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
		},
		// jobs are older than garbage collection: their pods outlive them
		Collect: rest.OrphanDependents,
		Main:    func(e *resource.Endpoint) rest.Storage { return jobEndpoint{e} },
		Columns: jobColumns(),
	}
}

func jobColumns() []resource.Column[*batchv1.Job] {
	type J = *batchv1.Job
	columns := []resource.Column[J]{
		{Name: "Status", Type: "string", Help: "Status of the job.", Value: func(j J) any { return statusOf(j) }},
		{Name: "Completions", Type: "string", Help: batchv1.JobStatus{}.SwaggerDoc()["succeeded"], Value: func(j J) any { return completionsOf(j) }},
		{Name: "Duration", Type: "string", Help: "Time required to complete the job.", Value: func(j J) any { return durationOf(j) }},
		resource.AgeColumn[J](),
	}
	columns = append(columns, containerColumns(func(j J) *corev1.PodTemplateSpec { return &j.Spec.Template })...)
	return append(columns, resource.Column[J]{Name: "Selector", Type: "string", Priority: 1, Help: batchv1.JobSpec{}.SwaggerDoc()["selector"], Value: func(j J) any {
		return metav1.FormatLabelSelector(j.Spec.Selector)
	}})
}

func statusOf(j *batchv1.Job) string {
	has := func(kind batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func completionsOf(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if p := j.Spec.Parallelism; p != nil && *p > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, *p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func durationOf(j *batchv1.Job) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(time.Since(j.Status.StartTime.Time)) //nolint:forbidigo // what the user's clock says, by design
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	podspec.SetTemplateDefaults(&s.Template)
	defaultFailurePolicy(s.PodFailurePolicy)
	// with neither given the job is one pod; with only parallelism it ends when one succeeds
	if s.Completions == nil && s.Parallelism == nil {
		setTo(&s.Completions, 1)
	}
	setTo(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		setTo(&s.BackoffLimit, math.MaxInt32)
	}
	setTo(&s.BackoffLimit, 6)
	if len(j.Labels) == 0 {
		// the same map, so that the labels the template gets are the job's too
		j.Labels = s.Template.Labels
	}
	setTo(&s.CompletionMode, batchv1.NonIndexedCompletion)
	setTo(&s.Suspend, false)
	setTo(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		setTo(&s.PodReplacementPolicy, batchv1.Failed)
	}
	setTo(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
}

func defaultFailurePolicy(p *batchv1.PodFailurePolicy) {
	if p == nil {
		return
	}
	for i := range p.Rules {
		for j := range p.Rules[i].OnPodConditions {
			if c := &p.Rules[i].OnPodConditions[j]; c.Status == "" {
				c.Status = corev1.ConditionTrue
			}
		}
	}
}

func prepareJob(_ context.Context, obj, old *batchv1.Job) {
	if old == nil {
		prepareTemplate(&obj.Spec.Template, nil)
		obj.Spec.Scheduling = nil
		if obj.Spec.ManualSelector == nil || !*obj.Spec.ManualSelector {
			selectOwnPods(obj)
		}
		return
	}
	prepareTemplate(&obj.Spec.Template, &old.Spec.Template)
	if old.Spec.Scheduling == nil {
		obj.Spec.Scheduling = nil
	}
}

// selectOwnPods labels the template so that the job's pods are its own and
// nobody else's. Labels the user gave stay, and are refused where they differ.
func selectOwnPods(j *batchv1.Job) {
	labels := map[string]string{
		legacyJobName: j.Name, batchv1.JobNameLabel: j.Name,
		legacyControllerUID: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	for k, v := range labels {
		if _, ok := j.Spec.Template.Labels[k]; !ok {
			j.Spec.Template.Labels[k] = v
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

func warnJob(_ context.Context, obj, old *batchv1.Job) (out []string) {
	if old == nil || obj.Generation != old.Generation {
		out = warnCompletions(&obj.Spec, field.NewPath("spec"))
	}
	owner := podspec.OwnerWarnings(obj, old, &obj.Spec.Template, field.NewPath("spec", "template"), false)
	if old == nil {
		out = append(podspec.WarnName(obj.Name, podspec.PodNamesAndHost), out...)
	}
	return append(out, owner...)
}

// warnCompletions warns of jobs whose indexes may not fit their status.
func warnCompletions(s *batchv1.JobSpec, path *field.Path) []string {
	const manyCompletions, muchParallelism = 100_000, 10_000
	if ptr.Deref(s.CompletionMode, "") != batchv1.IndexedCompletion || ptr.Deref(s.Completions, 0) <= manyCompletions || ptr.Deref(s.Parallelism, 0) <= muchParallelism {
		return nil
	}
	return []string{path.String() + ": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"}
}
