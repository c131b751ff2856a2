package property

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tally is what has become of a job's pods.
type tally struct {
	succeeded, failed map[types.UID]bool
	done              map[string]bool // indexes
	counted           batchv1.JobStatus
}

func (w *world) tally(uid types.UID) *tally {
	if w.jobs[uid] == nil {
		w.jobs[uid] = &tally{succeeded: map[types.UID]bool{}, failed: map[types.UID]bool{}, done: map[string]bool{}}
	}
	return w.jobs[uid]
}

// job: nothing is counted twice or forgotten again.
func (w *world) job(c change, j *batchv1.Job) {
	w.see(j.UID, window{most: *j.Spec.Parallelism}, false)
	t := w.tally(j.UID)
	s := j.Status
	indexed := *j.Spec.CompletionMode == batchv1.IndexedCompletion
	switch {
	case s.Succeeded < t.counted.Succeeded || s.Failed < t.counted.Failed:
		w.breaks(c, "job %s forgets: %d/%d after %d/%d", j.Name, s.Succeeded, s.Failed, t.counted.Succeeded, t.counted.Failed)
	case !indexed && s.Succeeded > int32(len(t.succeeded)), indexed && s.Succeeded > int32(len(t.done)):
		w.breaks(c, "job %s counts %d successes, %d pods and %d indexes had one", j.Name, s.Succeeded, len(t.succeeded), len(t.done))
	case s.Failed > int32(len(t.failed)):
		w.breaks(c, "job %s counts %d failures, %d pods had one", j.Name, s.Failed, len(t.failed))
	case s.Succeeded > *j.Spec.Completions:
		w.breaks(c, "job %s counts %d successes of %d", j.Name, s.Succeeded, *j.Spec.Completions)
	}
	t.counted = s
}

// jobPod: no index twice at once or after its success, and no more at once than is allowed.
func (w *world) jobPod(c change, p *corev1.Pod, job types.UID) {
	t := w.tally(job)
	index, indexed := p.Annotations[batchv1.JobCompletionIndexAnnotation]
	if c.created && !c.ended {
		pods := owned(w.objects, job)
		if n, most := count(pods, active), w.window(job).most; n > most {
			w.breaks(c, "pod %s is the %d. at once, %d may be", p.Name, n, most)
		}
		if same := count(pods, func(o *corev1.Pod) bool {
			return active(o) && o.Annotations[batchv1.JobCompletionIndexAnnotation] == index
		}); indexed && (same > 1 || t.done[index]) {
			w.breaks(c, "pod %s is made for index %s, which has %d pods; it was done: %v", p.Name, index, same, t.done[index])
		}
	}
	switch {
	case !held(c):
	case p.Status.Phase == corev1.PodSucceeded:
		t.succeeded[p.UID] = true
		delete(t.failed, p.UID)
		if indexed {
			t.done[index] = true
		}
	case p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil || c.ended:
		if !t.succeeded[p.UID] {
			t.failed[p.UID] = true
		}
	}
}

// held reports whether the pod was tracked when it ended. Those that a job has too many of are let go before they are
// deleted, and their end counts for nothing.
func held(c change) bool {
	last := c.before
	if last == nil {
		last = c.after
	}
	return slices.Contains(last.GetFinalizers(), batchv1.JobTrackingFinalizer)
}

// uncounted answers which pods of completed jobs were counted not at all or more than once.
func (h *history) uncounted() []string {
	w := remember(h)
	var out []string
	for uid, t := range w.jobs {
		if s := t.counted; int(s.Succeeded) != len(t.succeeded) || int(s.Failed) != len(t.failed) {
			out = append(out, fmt.Sprintf("job %s counts %d and %d pods, %d succeeded and %d failed", w.objects[uid].GetName(), s.Succeeded, s.Failed, len(t.succeeded), len(t.failed)))
		}
	}
	return out
}
