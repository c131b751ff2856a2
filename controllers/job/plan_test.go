package job

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

func newJob(completions, parallelism int32, mode batchv1.CompletionMode, change ...func(*batchv1.JobSpec)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "work", UID: "j"}, Spec: batchv1.JobSpec{
		Completions: &completions, Parallelism: &parallelism, CompletionMode: &mode, BackoffLimit: ptr[int32](6),
	}}
	for _, f := range change {
		f(&j.Spec)
	}
	return j
}

// world is a job with its pods.
type world struct {
	job  *batchv1.Job
	pods []*corev1.Pod
	now  time.Time
	made int
	busy bool // statuses that are on their way are put off

	failures *Failures
}

// step plans once and applies the plan; crash leaves out what comes after the status.
func (w *world) step(crash bool) Plan {
	s := Snapshot{Job: w.job, Pods: w.pods, Failures: w.failures, Now: w.now}
	plan := NewPlan(s)
	if w.busy && onTheWay(w.job.Status, plan.Status) {
		plan = plan.rest(time.Second)
	}
	for _, index := range plan.Create {
		p := newPod(s, plan, index)
		w.made++
		p.Name, p.UID, p.CreationTimestamp = fmt.Sprint(w.made), types.UID(fmt.Sprint(w.made)), metav1.NewTime(w.now)
		p.Status.Phase = corev1.PodRunning
		w.pods = append(w.pods, p)
	}
	for _, p := range plan.Drop {
		w.pods = slices.DeleteFunc(w.pods, func(o *corev1.Pod) bool { return o.UID == p.UID })
	}
	for _, p := range plan.Stop {
		w.end(p.UID, corev1.PodFailed)
	}
	if plan.Later {
		if crash {
			w.failures = nil
		}
		return plan
	}
	w.job = w.job.DeepCopy()
	w.job.Status = plan.Status
	w.failures = &plan.Failures
	if crash {
		w.failures = nil
		return plan
	}
	for _, p := range plan.Release {
		w.change(p.UID, func(o *corev1.Pod) { o.Finalizers = nil })
	}
	return plan
}

func (w *world) change(uid types.UID, f func(*corev1.Pod)) {
	for i, p := range w.pods {
		if p.UID == uid {
			w.pods[i] = p.DeepCopy()
			f(w.pods[i])
		}
	}
}

func (w *world) end(uid types.UID, phase corev1.PodPhase) {
	w.change(uid, func(p *corev1.Pod) {
		p.Status.Phase = phase
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(w.now)}}
	})
}

func (w *world) running() []*corev1.Pod {
	var all []*corev1.Pod
	for _, p := range w.pods {
		if p.Status.Phase == corev1.PodRunning {
			all = append(all, p)
		}
	}
	return all
}

// However pods end, however often the controller is interrupted and its status put off: never more than parallelism run, every end is
// counted once, and the job ends.
func TestEveryEndCountsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion}).Draw(t, "mode")
		w := &world{now: epoch(), job: newJob(rapid.Int32Range(1, 8).Draw(t, "completions"), rapid.Int32Range(1, 4).Draw(t, "parallelism"), mode)}
		failed := map[types.UID]bool{}
		for range 400 {
			w.busy = rapid.Bool().Draw(t, "busy")
			w.step(rapid.IntRange(0, 3).Draw(t, "crash") == 0)
			if n := len(w.running()); n > int(*w.job.Spec.Parallelism) {
				t.Fatalf("%d pods run", n)
			}
			if Finished(w.job) {
				break
			}
			for _, p := range w.running() {
				switch rapid.IntRange(0, 7).Draw(t, "fate") {
				case 0:
					w.end(p.UID, corev1.PodFailed)
					failed[p.UID] = true
				case 1, 2, 3, 4:
					w.end(p.UID, corev1.PodSucceeded)
				}
			}
			w.now = w.now.Add(time.Minute)
		}
		if !Finished(w.job) {
			t.Fatalf("the job does not end: %+v", w.job.Status)
		}
		s := w.job.Status
		if n := len(s.UncountedTerminatedPods.Failed) + len(s.UncountedTerminatedPods.Succeeded); n > 0 {
			t.Fatalf("%d ends are not counted", n)
		}
		var ends [2]int
		for _, p := range w.pods {
			switch p.Status.Phase {
			case corev1.PodSucceeded:
				ends[0]++
			case corev1.PodFailed:
				ends[1]++
			}
		}
		if int(s.Succeeded) != ends[0] || int(s.Failed) != ends[1] {
			t.Fatalf("counted %d and %d, there were %v", s.Succeeded, s.Failed, ends)
		}
		if has(s.Conditions, batchv1.JobFailed) == (s.Succeeded >= *w.job.Spec.Completions) {
			t.Fatalf("ended as %+v", s)
		}
	})
}

// More pods than one status notes may have ended; what the others did is known nevertheless.
func TestEndsBeyondOneStatus(t *testing.T) {
	for _, mode := range []batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion} {
		w := &world{now: epoch(), job: newJob(2*batchSize, 2*batchSize, mode)}
		w.step(true)
		w.step(true)
		ended := batchSize + 100
		for _, p := range w.running()[:ended] {
			w.end(p.UID, corev1.PodSucceeded)
		}
		plan := NewPlan(Snapshot{Job: w.job, Pods: w.pods, Now: w.now})
		if len(plan.Create) != 0 || len(plan.Release) != batchSize {
			t.Errorf("%s: creates %d pods, releases %d", mode, len(plan.Create), len(plan.Release))
		}
		if noted := len(plan.Status.UncountedTerminatedPods.Succeeded); noted > batchSize {
			t.Errorf("%s: notes %d ends", mode, noted)
		}
		for range 3 {
			w.step(false)
		}
		if made, succeeded := len(w.pods), int(w.job.Status.Succeeded); made != 2*batchSize || succeeded != ended {
			t.Errorf("%s: %d pods made, %d of %d successes counted", mode, made, succeeded, ended)
		}
	}
}

func TestBackoffGrows(t *testing.T) {
	w := &world{now: epoch(), job: newJob(1, 1, batchv1.NonIndexedCompletion)}
	for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second} {
		w.step(false)
		w.end(w.running()[0].UID, corev1.PodFailed)
		if p := w.step(false); len(p.Create) != 0 || p.After != want {
			t.Fatalf("creates %v, looks again in %s, want %s", p.Create, p.After, want)
		}
		w.now = w.now.Add(want)
	}
}

// A pod that is deleted has failed, and is waited for also when nothing of it is left.
func TestBackoffAfterDeletion(t *testing.T) {
	w := &world{now: epoch(), job: newJob(1, 1, batchv1.NonIndexedCompletion)}
	w.step(false)
	w.change("1", func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: epoch().Add(30 * time.Second)}, ptr[int64](30)
	})
	if p := w.step(false); len(p.Create) != 0 || p.After != 10*time.Second {
		t.Errorf("creates %v, looks again in %s", p.Create, p.After)
	}
	w.pods = nil
	w.now = w.now.Add(4 * time.Second)
	if p := w.step(false); len(p.Create) != 0 || p.After != 6*time.Second || p.Status.Failed != 1 {
		t.Errorf("creates %v, looks again in %s, %d failed", p.Create, p.After, p.Status.Failed)
	}
}

func TestDeadline(t *testing.T) {
	w := &world{now: epoch(), job: newJob(1, 1, batchv1.NonIndexedCompletion, func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr[int64](30) })}
	if p := w.step(false); p.After != 30*time.Second {
		t.Errorf("looks again in %s", p.After)
	}
	w.now = w.now.Add(31 * time.Second)
	p := w.step(false)
	if c := find(p.Status.Conditions, batchv1.JobFailureTarget); c == nil || c.Reason != "DeadlineExceeded" || len(p.Stop) != 1 {
		t.Errorf("plan %+v", p)
	}
	for range 3 {
		w.step(false)
	}
	if c := find(w.job.Status.Conditions, batchv1.JobFailed); c == nil || c.Reason != "DeadlineExceeded" || w.job.Status.Failed != 1 {
		t.Errorf("status %+v", w.job.Status)
	}
}

func TestSuspendDropsWithoutCounting(t *testing.T) {
	w := &world{now: epoch(), job: newJob(3, 2, batchv1.NonIndexedCompletion)}
	w.step(false)
	w.job.Spec.Suspend = ptr(true)
	if p := w.step(false); len(p.Drop) != 2 || p.Status.StartTime != nil || !has(p.Status.Conditions, batchv1.JobSuspended) {
		t.Errorf("plan %+v", p)
	}
	w.job.Spec.Suspend = ptr(false)
	w.step(false)
	if w.job.Status.Failed != 0 || len(w.running()) != 2 || has(w.job.Status.Conditions, batchv1.JobSuspended) {
		t.Errorf("status %+v with %d pods", w.job.Status, len(w.running()))
	}
}

func TestFailurePolicy(t *testing.T) {
	onCode := func(action batchv1.PodFailurePolicyAction) func(*batchv1.JobSpec) {
		return func(s *batchv1.JobSpec) {
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}},
			}}}
		}
	}
	for action, want := range map[batchv1.PodFailurePolicyAction]string{batchv1.PodFailurePolicyActionFailJob: "failed 1 PodFailurePolicy", batchv1.PodFailurePolicyActionIgnore: "failed 0 ", batchv1.PodFailurePolicyActionCount: "failed 1 "} {
		w := &world{now: epoch(), job: newJob(1, 1, batchv1.NonIndexedCompletion, onCode(action))}
		w.step(false)
		w.end("1", corev1.PodFailed)
		w.change("1", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 42}}}}
		})
		for range 3 {
			w.step(false)
		}
		reason := ""
		if c := find(w.job.Status.Conditions, batchv1.JobFailed); c != nil {
			reason = c.Reason
		}
		if got := fmt.Sprintf("failed %d %s", w.job.Status.Failed, reason); got != want {
			t.Errorf("%s: %q, want %q", action, got, want)
		}
	}
}

func TestSuccessPolicy(t *testing.T) {
	w := &world{now: epoch(), job: newJob(3, 3, batchv1.IndexedCompletion, func(s *batchv1.JobSpec) {
		s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr("1-2"), SucceededCount: ptr[int32](1)}}}
	})}
	w.step(false)
	w.end("3", corev1.PodSucceeded) // index 2
	for range 4 {
		w.step(false)
	}
	if c := find(w.job.Status.Conditions, batchv1.JobComplete); c == nil || c.Reason != "SuccessPolicy" || w.job.Status.CompletedIndexes != "2" {
		t.Errorf("status %+v", w.job.Status)
	}
}

func TestIndexLimit(t *testing.T) {
	w := &world{now: epoch(), job: newJob(2, 2, batchv1.IndexedCompletion, func(s *batchv1.JobSpec) {
		s.BackoffLimitPerIndex, s.BackoffLimit = ptr[int32](1), ptr[int32](maxInt32)
	})}
	for range 30 {
		w.step(false)
		for _, p := range w.running() {
			phase := corev1.PodSucceeded
			if i, _ := indexOf(p); i == 0 {
				phase = corev1.PodFailed
			}
			w.end(p.UID, phase)
		}
		w.now = w.now.Add(time.Hour)
	}
	s := w.job.Status
	if c := find(s.Conditions, batchv1.JobFailed); c == nil || c.Reason != "FailedIndexes" || *s.FailedIndexes != "0" || s.CompletedIndexes != "1" || s.Failed != 2 {
		t.Errorf("status %+v", s)
	}
}

const maxInt32 = 1<<31 - 1

func TestIndexes(t *testing.T) {
	for text, want := range map[string]string{"": "", "3": "3", "1,2": "1,2", "1-3": "1-3", "1,2,3,5,7,8": "1-3,5,7,8", "x,4": "4"} {
		if got := parse(text, 1000).String(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		set := indexes{}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, 50)).Draw(t, "indexes") {
			set.add(i)
		}
		if back := parse(set.String(), 1000); back.len() != set.len() || back.and(set).len() != set.len() {
			t.Fatalf("%v became %v", set, back)
		}
	})
}

func TestOnTheWay(t *testing.T) {
	before := batchv1.JobStatus{Active: 2, Succeeded: 3, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{}, StartTime: ptr(metav1.NewTime(epoch()))}
	for name, c := range map[string]struct {
		change func(*batchv1.JobStatus)
		want   bool
	}{
		"a pod ended": {func(s *batchv1.JobStatus) { s.Active, s.Succeeded, s.CompletedIndexes = 1, 4, "0-3" }, true},
		"an end is noted": {func(s *batchv1.JobStatus) {
			s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Failed: []types.UID{"a"}}
		}, true},
		"the last pod ended":    {func(s *batchv1.JobStatus) { s.Active, s.Succeeded = 0, 5 }, false},
		"the job is suspended":  {func(s *batchv1.JobStatus) { s.StartTime = nil }, false},
		"the job comes to ends": {func(s *batchv1.JobStatus) { s.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailureTarget}} }, false},
	} {
		after := *before.DeepCopy()
		c.change(&after)
		if got := onTheWay(before, after); got != c.want {
			t.Errorf("%s: on the way is %v", name, got)
		}
	}
}
