package job

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// finish carries a decided end through: the remaining pods are stopped, and when the last one is gone and counted the
// job gets its final condition.
func (p *planner) finish(end batchv1.JobCondition) {
	if end.Type == batchv1.JobSuccessCriteriaMet {
		p.plan.Drop = p.active // not their fault
	} else {
		p.plan.Stop = p.active
	}
	p.letGo()
	p.set(end)
	uncounted := p.status.UncountedTerminatedPods
	if len(p.active) > 0 || p.terminating > 0 || len(uncounted.Succeeded)+len(uncounted.Failed) > 0 || len(p.plan.Release) > 0 {
		return
	}
	final := end
	final.LastProbeTime, final.LastTransitionTime = metav1.NewTime(p.Now), metav1.NewTime(p.Now)
	if end.Type == batchv1.JobFailureTarget {
		final.Type = batchv1.JobFailed
		p.plan.Notes = append(p.plan.Notes, Note{corev1.EventTypeWarning, end.Reason, end.Message})
	} else {
		final.Type = batchv1.JobComplete
		now := metav1.NewTime(p.Now)
		p.status.CompletionTime = &now
		if most := p.Job.Spec.Completions; most != nil && p.status.Succeeded > *most {
			p.plan.Notes = append(p.plan.Notes, Note{corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached"})
		}
		p.plan.Notes = append(p.plan.Notes, Note{corev1.EventTypeNormal, "Completed", "Job completed"})
	}
	p.set(final)
}

// letGo counts failed pods that were held for their successors too: there will be none.
func (p *planner) letGo() {
	p.last, p.plan.Release = nil, nil
	p.noteEnds()
}

// suspend drops the active pods; their end does not count.
func (p *planner) suspend() {
	p.plan.Drop = p.active
	if c := find(p.status.Conditions, batchv1.JobSuspended); c != nil && c.Status == corev1.ConditionTrue {
		return
	}
	p.set(*p.condition(batchv1.JobSuspended, "JobSuspended", "Job suspended"))
	p.status.StartTime = nil
	p.plan.Notes = append(p.plan.Notes, Note{corev1.EventTypeNormal, "Suspended", "Job suspended"})
}

// resume restarts the job's clock after a suspension.
func (p *planner) resume() {
	if c := find(p.status.Conditions, batchv1.JobSuspended); c != nil && c.Status == corev1.ConditionTrue {
		resumed := *p.condition(batchv1.JobSuspended, "JobResumed", "Job resumed")
		resumed.Status = corev1.ConditionFalse
		p.set(resumed)
		now := metav1.NewTime(p.Now)
		p.status.StartTime = &now
		p.plan.Notes = append(p.plan.Notes, Note{corev1.EventTypeNormal, "Resumed", "Job resumed"})
	}
}

func (p *planner) condition(kind batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(p.Now)
	return &batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
}

// set adds or replaces a condition; one that says the same stays as it is.
func (p *planner) set(c batchv1.JobCondition) {
	for i, old := range p.status.Conditions {
		if old.Type != c.Type {
			continue
		}
		if old.Status != c.Status || old.Reason != c.Reason {
			p.status.Conditions[i] = c
		}
		return
	}
	p.status.Conditions = append(p.status.Conditions, c)
}

func find(conditions []batchv1.JobCondition, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}

func has(conditions []batchv1.JobCondition, kind batchv1.JobConditionType) bool {
	c := find(conditions, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}
