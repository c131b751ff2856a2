package job

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Every index waits after its own failures, and its next pod is told of them; the failed pod is held until then.
func TestIndexesWaitOnTheirOwn(t *testing.T) {
	w := &world{now: epoch(), job: newJob(3, 3, batchv1.IndexedCompletion, func(s *batchv1.JobSpec) {
		s.BackoffLimitPerIndex, s.BackoffLimit = ptr[int32](5), ptr[int32](maxInt32)
		s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
			Action:          batchv1.PodFailurePolicyActionIgnore,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
		}}}
	})}
	w.step(false)
	for i, wait := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		last := w.running()[len(w.running())-1]
		index, _ := indexOf(last)
		if i == 0 {
			last, index = w.running()[1], 1
		}
		w.end(last.UID, corev1.PodFailed)
		if i == 1 {
			w.change(last.UID, func(p *corev1.Pod) {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue})
			})
		}
		plan := w.step(false)
		held := !slices.ContainsFunc(plan.Release, func(p *corev1.Pod) bool { return p.UID == last.UID })
		if len(plan.Create) != 0 || plan.After != wait || index != 1 || !held {
			t.Fatalf("after failure %d of index %d: created %v, after %s, held %v", i+1, index, plan.Create, plan.After, held)
		}
		w.now = w.now.Add(wait)
		if plan := w.step(false); !slices.Equal(plan.Create, []int{1}) {
			t.Fatalf("after failure %d: created %v", i+1, plan.Create)
		}
	}
	made := w.pods[len(w.pods)-1]
	if made.Annotations[failureCount] != "2" || made.Annotations[ignoredCount] != "1" {
		t.Errorf("annotations %v", made.Annotations)
	}
	w.step(false)
	if plan := w.step(false); plan.Status.Failed != 2 {
		t.Errorf("status %+v", plan.Status)
	}
}

// Of a job that is given fewer completions, only what is left counts.
func TestElasticIndexes(t *testing.T) {
	w := &world{now: epoch(), job: newJob(4, 4, batchv1.IndexedCompletion)}
	w.step(false)
	w.end("1", corev1.PodSucceeded)
	w.end("4", corev1.PodSucceeded)
	w.step(false)
	if s := w.step(false).Status; s.CompletedIndexes != "0,3" || s.Succeeded != 2 {
		t.Errorf("status %+v", s)
	}
	w.job.Spec.Completions, w.job.Spec.Parallelism = ptr[int32](2), ptr[int32](2)
	if plan := w.step(false); plan.Status.CompletedIndexes != "0" || plan.Status.Succeeded != 1 || len(plan.Drop) != 1 || plan.Drop[0].UID != "3" {
		t.Errorf("plan %+v", plan)
	}
	w.job.Spec.Completions, w.job.Spec.Parallelism = ptr[int32](5), ptr[int32](5)
	if plan := w.step(false); !slices.Equal(plan.Create, []int{2, 3, 4}) {
		t.Errorf("created %v", plan.Create)
	}
}

// Pods that are stopped because the others were enough have not failed.
func TestSuccessStopsWithoutBlame(t *testing.T) {
	w := &world{now: epoch(), job: newJob(3, 3, batchv1.IndexedCompletion, func(s *batchv1.JobSpec) {
		s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: ptr[int32](1)}}}
	})}
	w.step(false)
	w.end("2", corev1.PodSucceeded)
	for range 4 {
		w.step(false)
	}
	if s := w.job.Status; !Finished(w.job) || s.Succeeded != 1 || s.Failed != 0 || s.CompletedIndexes != "1" {
		t.Errorf("status %+v", s)
	}
}
