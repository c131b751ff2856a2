package job

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/controllers/internal/podset"
)

// batchSize is the most pods whose end is noted by one status.
const batchSize = 500

// Snapshot is what a plan is made from.
type Snapshot struct {
	Job *batchv1.Job
	// Pods are the pods that the job controls.
	Pods []*corev1.Pod
	// Failures is what is known of the pods whose end is in the status; nil if nothing is.
	Failures *Failures
	Now      time.Time
}

// Plan is what to do, in this order. A pod's end is counted in three steps, so that none is lost or counted twice
// however often the controller is interrupted: its UID goes into the status, its finalizer is removed, and when that
// is seen the UID becomes one of the counters.
type Plan struct {
	// Create are the completion indexes of pods to create; none for a job without indexes.
	Create []int
	// Replaced are the last failed pods of indexes, which those that are created for them succeed.
	Replaced map[int]*corev1.Pod
	// Drop are active pods that are not wanted any more and whose end does not count; Stop are those that end with
	// the job.
	Drop, Stop []*corev1.Pod
	// Later leaves Status, Release, Notes and Failures to the next plan, which will know more.
	Later bool
	// Status is written before Release.
	Status batchv1.JobStatus
	// Release are pods whose end is in the status.
	Release []*corev1.Pod
	Notes   []Note
	// Failures is to be known when the status is written.
	Failures Failures
	// After, if not 0, is when time alone changes the plan.
	After time.Duration
}

// Note is an event to record.
type Note struct{ Type, Reason, Message string }

// planner carries the state of one planning.
type planner struct {
	Snapshot
	status      batchv1.JobStatus
	active      []*corev1.Pod
	terminating int
	completed   indexes
	failed      indexes
	last        map[int]*corev1.Pod // failed pods that wait for a successor, by index
	succeeded   int                 // counted or about to be
	failures    int
	plan        Plan
}

// NewPlan plans the next steps of a job that has not finished.
func NewPlan(s Snapshot) Plan {
	p := &planner{Snapshot: s, status: *s.Job.Status.DeepCopy()}
	if p.status.StartTime == nil && !suspended(s.Job) {
		now := metav1.NewTime(s.Now)
		p.status.StartTime = &now
	}
	p.plan.Failures = p.newFailures()
	p.count()
	switch end := p.end(); {
	case end != nil:
		p.finish(*end)
	case s.Job.DeletionTimestamp != nil:
		p.letGo()
	case suspended(s.Job):
		p.suspend()
	default:
		p.resume()
		p.manage()
		p.deadline()
	}
	p.plan.Status = p.status
	return p.plan
}

// Finished answers whether the job has its final condition.
func Finished(job *batchv1.Job) bool {
	return has(job.Status.Conditions, batchv1.JobComplete) || has(job.Status.Conditions, batchv1.JobFailed)
}

// Leftovers answers the pods of a finished job that still wait to be let go.
func Leftovers(pods []*corev1.Pod) []*corev1.Pod { return podset.Select(pods, tracked) }

func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// hasFailed answers whether a pod's end counts as a failure. Unless only failed pods may be replaced, a pod that is being
// deleted has failed already.
func (p *planner) hasFailed(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return !p.onlyFailed() && pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded
}

func (p *planner) onlyFailed() bool {
	policy := p.Job.Spec.PodReplacementPolicy
	return (policy != nil && *policy == batchv1.Failed) || p.Job.Spec.PodFailurePolicy != nil
}

// count brings the status up to what the pods tell.
func (p *planner) count() {
	completions := int(deref(p.Job.Spec.Completions))
	p.completed, p.failed = parse(p.status.CompletedIndexes, completions), parse(deref(p.status.FailedIndexes), completions)
	if p.status.UncountedTerminatedPods == nil {
		p.status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	p.settle()
	ready := int32(0)
	for _, pod := range p.Pods {
		switch {
		case podset.Active(pod):
			p.active = append(p.active, pod)
			if podset.Ready(pod) {
				ready++
			}
		case podset.Terminating(pod):
			p.terminating++
		}
	}
	p.noteIndexes()
	p.last = p.lastFailures()
	p.noteEnds()
	terminating := int32(p.terminating)
	p.status.Active, p.status.Ready, p.status.Terminating = int32(len(p.active)), &ready, &terminating
	uncounted := p.status.UncountedTerminatedPods
	p.succeeded += int(p.status.Succeeded) + len(uncounted.Succeeded)
	p.failures += int(p.status.Failed) + len(uncounted.Failed)
	for _, pod := range p.last {
		if p.countsAsFailure(pod) && !slices.Contains(uncounted.Failed, pod.UID) {
			p.failures++
		}
	}
	if indexed(p.Job) {
		p.succeeded = p.completed.len()
		p.status.Succeeded, p.status.CompletedIndexes = int32(p.succeeded), p.completed.String()
	}
	if p.Job.Spec.BackoffLimitPerIndex != nil {
		text := p.failed.String()
		p.status.FailedIndexes = &text
	}
}

// settle turns the noted ends of pods that were let go into counters.
func (p *planner) settle() {
	held := map[types.UID]bool{}
	for _, pod := range p.Pods {
		held[pod.UID] = tracked(pod)
	}
	uncounted := p.status.UncountedTerminatedPods
	take := func(uids []types.UID, counter *int32) []types.UID {
		var rest []types.UID
		for _, uid := range uids {
			if held[uid] {
				rest = append(rest, uid)
			} else {
				*counter++
			}
		}
		return rest
	}
	uncounted.Succeeded = take(uncounted.Succeeded, &p.status.Succeeded)
	uncounted.Failed = take(uncounted.Failed, &p.status.Failed)
}

// noteIndexes notes which indexes are done and which are given up.
func (p *planner) noteIndexes() {
	for _, pod := range p.Pods {
		if index, ok := p.indexOf(pod); ok && tracked(pod) && pod.Status.Phase == corev1.PodSucceeded && !p.failed.has(index) {
			p.completed.add(index)
		}
	}
	for _, pod := range p.Pods {
		if index, ok := p.indexOf(pod); ok && tracked(pod) && p.hasFailed(pod) {
			p.failIndex(pod, index)
		}
	}
}

// noteEnds notes the pods that ended and are still held, and says which can be let go. Those beyond the batch are let go
// by a later plan and only known until then.
func (p *planner) noteEnds() {
	uncounted := p.status.UncountedTerminatedPods
	for _, pod := range slices.SortedFunc(slices.Values(p.Pods), byUID) {
		if !tracked(pod) {
			continue
		}
		full := len(p.plan.Release) >= batchSize
		index, own := p.indexOf(pod)
		switch {
		case pod.Status.Phase == corev1.PodSucceeded:
			if !indexed(p.Job) {
				note(pod, &uncounted.Succeeded, &p.succeeded, full)
			}
		case !p.hasFailed(pod) || own && p.last[index] == pod:
			continue
		case (own || !indexed(p.Job)) && p.countsAsFailure(pod):
			note(pod, &uncounted.Failed, &p.failures, full)
		}
		if !full {
			p.plan.Release = append(p.plan.Release, pod)
		}
	}
}

// note puts the pod among the noted, or adds it to the others if there is no room.
func note(pod *corev1.Pod, noted *[]types.UID, others *int, full bool) {
	switch {
	case slices.Contains(*noted, pod.UID):
	case full:
		*others++
	default:
		*noted = append(*noted, pod.UID)
	}
}

func byUID(a, b *corev1.Pod) int { return cmp.Compare(a.UID, b.UID) }

// end answers the condition that the job must end with, nil while it goes on.
func (p *planner) end() *batchv1.JobCondition {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if c := find(p.Job.Status.Conditions, kind); c != nil && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	if message, ok := p.policyFailsJob(); ok {
		return p.condition(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, message)
	}
	switch {
	case p.backoffExceeded():
		return p.condition(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case p.deadlineLeft() < 0:
		return p.condition(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	if c := p.indexesFailed(); c != nil {
		return c
	}
	if rule, ok := p.succeeds(); ok {
		return p.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule))
	}
	if p.complete() {
		return p.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	}
	return nil
}

// complete answers whether enough pods succeeded; without a number the first success lets the others end by themselves.
func (p *planner) complete() bool {
	if p.Job.Spec.Completions == nil {
		return p.succeeded > 0 && len(p.active) == 0 && p.terminating == 0
	}
	return p.succeeded >= int(*p.Job.Spec.Completions)
}

// backoffExceeded counts restarts in place like failures when pods restart their containers themselves.
func (p *planner) backoffExceeded() bool {
	limit := int(deref(p.Job.Spec.BackoffLimit))
	if p.Job.Spec.BackoffLimit == nil {
		return false
	}
	if p.failures > limit {
		return true
	}
	if p.Job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	restarts := 0
	for _, pod := range p.Pods {
		if podset.Finished(pod) {
			continue
		}
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			restarts += int(c.RestartCount)
		}
	}
	return restarts > 0 && (restarts >= limit)
}

// deadlineLeft answers how long the job may go on; a long time without a deadline.
func (p *planner) deadlineLeft() time.Duration {
	if p.Job.Spec.ActiveDeadlineSeconds == nil || p.Job.Status.StartTime == nil || suspended(p.Job) {
		return time.Hour
	}
	allowed := time.Duration(*p.Job.Spec.ActiveDeadlineSeconds) * time.Second
	left := p.Job.Status.StartTime.Add(allowed).Sub(p.Now)
	if left == 0 {
		return -1
	}
	return left
}

func (p *planner) deadline() {
	if p.Job.Spec.ActiveDeadlineSeconds == nil || p.status.StartTime == nil {
		return
	}
	allowed := time.Duration(*p.Job.Spec.ActiveDeadlineSeconds) * time.Second
	p.again(max(time.Millisecond, p.status.StartTime.Add(allowed).Sub(p.Now)))
}

func (p *planner) again(after time.Duration) {
	if p.plan.After == 0 || after < p.plan.After {
		p.plan.After = after
	}
}

// manage keeps as many pods active as are useful.
func (p *planner) manage() {
	parallel := int(deref(p.Job.Spec.Parallelism))
	want := parallel
	if p.Job.Spec.Completions != nil {
		want = min(parallel, int(*p.Job.Spec.Completions)-p.succeeded-p.failed.len())
	} else if p.succeeded > 0 {
		want = min(parallel, len(p.active))
	}
	surplus := p.duplicates()
	active := len(p.active) - len(surplus)
	if excess := active - max(0, want); excess > 0 {
		surplus = append(surplus, p.excess(excess, surplus)...)
	}
	p.plan.Drop = surplus
	missing := want - active
	if p.onlyFailed() {
		missing -= p.terminating
	}
	if missing <= 0 {
		return
	}
	if wait := p.plan.Failures.wait(p.Now); wait > 0 && p.Job.Spec.BackoffLimitPerIndex == nil {
		p.again(wait)
		return
	}
	if indexed(p.Job) {
		now, wait := p.due(p.freeIndexes(min(missing, batchSize)))
		p.plan.Create, p.plan.Replaced = now, p.last
		if wait > 0 {
			p.again(wait)
		}
		return
	}
	p.plan.Create = make([]int, min(missing, batchSize))
	for i := range p.plan.Create {
		p.plan.Create[i] = noIndex
	}
}

// excess answers the pods that are missed least.
func (p *planner) excess(n int, but []*corev1.Pod) []*corev1.Pod {
	var ranked []podset.Ranked
	for _, pod := range p.active {
		if !slices.Contains(but, pod) {
			ranked = append(ranked, podset.Ranked{Pod: pod})
		}
	}
	podset.SortForDeletion(ranked, p.Now)
	var pods []*corev1.Pod
	for _, r := range ranked[:min(n, len(ranked))] {
		pods = append(pods, r.Pod)
	}
	return pods
}

func deref[T any](v *T) T {
	var zero T
	if v == nil {
		return zero
	}
	return *v
}
