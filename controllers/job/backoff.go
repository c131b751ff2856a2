package job

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/controllers/internal/podset"
)

const (
	firstBackoff = 10 * time.Second
	lastBackoff  = 10 * time.Minute
)

// Failures are those of a job's pods since the last success.
type Failures struct {
	Count int
	Last  time.Time
}

// newFailures adds the pods that have ended since. If nothing is known all pods are new.
func (p *planner) newFailures() Failures {
	var f Failures
	if p.Snapshot.Failures != nil {
		f = *p.Snapshot.Failures
	}
	var ended []*corev1.Pod
	for _, pod := range p.Pods {
		if (pod.Status.Phase == corev1.PodSucceeded || p.hasFailed(pod)) && (p.Snapshot.Failures == nil || tracked(pod) && !p.noted(pod)) {
			ended = append(ended, pod)
		}
	}
	slices.SortStableFunc(ended, func(a, b *corev1.Pod) int { // of those that end at once a success comes last
		return cmp.Or(endOf(a).Compare(endOf(b)), cmp.Compare(a.Status.Phase, b.Status.Phase))
	})
	for _, pod := range ended {
		if pod.Status.Phase == corev1.PodSucceeded {
			f = Failures{}
			continue
		}
		f.Count, f.Last = f.Count+1, endOf(pod)
	}
	return f
}

// noted reports whether a pod's end is in the status.
func (p *planner) noted(pod *corev1.Pod) bool {
	u := p.Job.Status.UncountedTerminatedPods
	return u != nil && (slices.Contains(u.Succeeded, pod.UID) || slices.Contains(u.Failed, pod.UID))
}

// wait answers how long to wait until the next try: ten seconds after the first failure, doubled by each further one.
func (f Failures) wait(now time.Time) time.Duration {
	if f.Count == 0 {
		return 0
	}
	return max(0, f.Last.Add(pause(f.Count)).Sub(now))
}

// pause is how long to wait after so many failures.
func pause(failures int) time.Duration {
	if failures >= 8 {
		return lastBackoff
	}
	return min(lastBackoff, firstBackoff<<(failures-1))
}

// endOf answers when a pod ended, as well as it tells.
func endOf(pod *corev1.Pod) time.Time {
	var at time.Time
	for _, c := range pod.Status.ContainerStatuses {
		t := c.State.Terminated
		if t == nil || t.FinishedAt.IsZero() {
			at = time.Time{}
			break
		}
		if t.FinishedAt.After(at) {
			at = t.FinishedAt.Time
		}
	}
	c := podset.Condition(pod, corev1.PodReady)
	switch {
	case !at.IsZero():
		return at
	case c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero():
		return c.LastTransitionTime.Time
	case pod.DeletionTimestamp != nil:
		return pod.DeletionTimestamp.Add(-time.Duration(deref(pod.DeletionGracePeriodSeconds)) * time.Second)
	}
	return pod.CreationTimestamp.Time
}
