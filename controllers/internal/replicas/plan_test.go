package replicas

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"skiff/controllers/internal/batch"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func snapshot(replicas int32, pods ...*corev1.Pod) Snapshot {
	set := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}}}
	set.Generation = 4
	return Snapshot{Set: set, Pods: pods, Related: pods, Terminating: true, Now: epoch()}
}

func pod(phase corev1.PodPhase, ready, going bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Status: corev1.PodStatus{Phase: phase}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if going {
		now := metav1.NewTime(epoch())
		p.DeletionTimestamp = &now
	}
	return p
}

// A plan brings the number of active pods to the desired one, as far as the burst allows, and never does both.
func TestPlanReachesTheNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pods []*corev1.Pod
		active := 0
		for i := range rapid.IntRange(0, 700).Draw(t, "pods") {
			p := pod(rapid.SampledFrom([]corev1.PodPhase{corev1.PodRunning, corev1.PodPending, corev1.PodFailed}).Draw(t, "phase"), i%3 == 0, i%7 == 0)
			p.Name = fmt.Sprint(i)
			if p.Status.Phase != corev1.PodFailed && p.DeletionTimestamp == nil {
				active++
			}
			pods = append(pods, p)
		}
		want := rapid.IntRange(0, 700).Draw(t, "replicas")
		plan := NewPlan(snapshot(int32(want), pods...))
		if plan.Create > 0 && len(plan.Delete) > 0 {
			t.Fatal("creates and deletes")
		}
		if plan.Create > batch.Burst || len(plan.Delete) > batch.Burst {
			t.Fatal("too many at once")
		}
		after := active + plan.Create - len(plan.Delete)
		if after != want && plan.Create != batch.Burst && len(plan.Delete) != batch.Burst {
			t.Fatalf("%d pods after, want %d", after, want)
		}
		for _, p := range plan.Delete {
			if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed {
				t.Fatal("deletes what does not count")
			}
		}
	})
}

func TestDoubledUpPodsGoFirst(t *testing.T) {
	alone, doubled := pod(corev1.PodRunning, true, false), pod(corev1.PodRunning, true, false)
	alone.Name, alone.Spec.NodeName, doubled.Name, doubled.Spec.NodeName = "alone", "a", "doubled", "b"
	sibling := pod(corev1.PodRunning, true, false)
	sibling.Spec.NodeName = "b"
	s := snapshot(1, alone, doubled)
	s.Related = append(s.Related, sibling)
	if plan := NewPlan(s); len(plan.Delete) != 1 || plan.Delete[0] != doubled {
		t.Errorf("deletes %v", plan.Delete)
	}
}

func TestDeletedSetIsLeftAlone(t *testing.T) {
	s := snapshot(3)
	now := metav1.NewTime(epoch())
	s.Set.DeletionTimestamp = &now
	if plan := NewPlan(s); plan.Create != 0 {
		t.Errorf("creates %d", plan.Create)
	}
}

func TestStatus(t *testing.T) {
	other := pod(corev1.PodRunning, false, false)
	other.Labels = nil
	s := snapshot(3, pod(corev1.PodRunning, true, false), pod(corev1.PodPending, false, false), other, pod(corev1.PodFailed, false, false), pod(corev1.PodRunning, true, true))
	got := Status(s, Plan{}, nil)
	if got.Replicas != 3 || got.FullyLabeledReplicas != 2 || got.ReadyReplicas != 1 || got.AvailableReplicas != 1 || *got.TerminatingReplicas != 1 || got.ObservedGeneration != 4 {
		t.Errorf("got %+v", got)
	}
	s.Terminating = false
	if Status(s, Plan{}, nil).TerminatingReplicas != nil {
		t.Error("a kind without that field counts terminating pods")
	}
}

func TestFailureCondition(t *testing.T) {
	s := snapshot(3)
	for plan, want := range map[*Plan]string{{Create: 3}: "FailedCreate", {Delete: []*corev1.Pod{{}}}: "FailedDelete"} {
		s.Set.Status = Status(s, *plan, errors.New("quota"))
		if c := s.Set.Status.Conditions; len(c) != 1 || c[0].Reason != want || c[0].Message != "quota" || c[0].Status != corev1.ConditionTrue {
			t.Errorf("conditions %+v", c)
		}
		s.Now = s.Now.Add(time.Minute)
		if again := Status(s, *plan, errors.New("another")); !SameStatus(s.Set.Status, again) {
			t.Error("a repeated failure changes the status")
		}
		if s.Set.Status = Status(s, *plan, nil); len(s.Set.Status.Conditions) != 0 {
			t.Errorf("a success leaves %+v", s.Set.Status.Conditions)
		}
	}
}

func TestOnTheWay(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	set := snapshot(4).Set
	set.Status = appsv1.ReplicaSetStatus{ObservedGeneration: 4, Replicas: 4, FullyLabeledReplicas: 4, ReadyReplicas: 2, AvailableReplicas: 1, TerminatingReplicas: n(1)}
	failure := appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue}
	for name, c := range map[string]struct {
		change func(*appsv1.ReplicaSetStatus)
		want   bool
	}{
		"one more is available":     {func(s *appsv1.ReplicaSetStatus) { s.AvailableReplicas = 2 }, true},
		"one less terminates":       {func(s *appsv1.ReplicaSetStatus) { s.TerminatingReplicas = n(0) }, true},
		"all are there, one leaves": {func(s *appsv1.ReplicaSetStatus) { s.ReadyReplicas, s.AvailableReplicas = 4, 4 }, true},
		"all are there": {func(s *appsv1.ReplicaSetStatus) {
			s.ReadyReplicas, s.AvailableReplicas, s.TerminatingReplicas = 4, 4, nil
		}, false},
		"one is no longer ready":     {func(s *appsv1.ReplicaSetStatus) { s.ReadyReplicas = 1 }, false},
		"one is no longer available": {func(s *appsv1.ReplicaSetStatus) { s.AvailableReplicas = 0 }, false},
		"a generation was seen":      {func(s *appsv1.ReplicaSetStatus) { s.ObservedGeneration, s.AvailableReplicas = 5, 2 }, true},
		"a condition appears":        {func(s *appsv1.ReplicaSetStatus) { s.Conditions = []appsv1.ReplicaSetCondition{failure} }, false},
	} {
		after := set.Status
		c.change(&after)
		if got := onTheWay(set, after); got != c.want {
			t.Errorf("%s: on the way is %v", name, got)
		}
	}
}
