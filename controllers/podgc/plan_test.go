package podgc

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func pod(name, node string, phase corev1.PodPhase, going bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
	if going {
		now := metav1.NewTime(epoch())
		p.DeletionTimestamp = &now
	}
	return p
}

func TestPlan(t *testing.T) {
	down := &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}}}
	s := Snapshot{
		Now: epoch(), Nodes: map[string]*corev1.Node{"here": {}, "down": down}, Gone: map[string]time.Time{"gone": epoch().Add(-Quarantine), "missing": epoch().Add(-time.Second)},
		Pods: []*corev1.Pod{
			pod("runs", "here", corev1.PodRunning, false), pod("ends", "here", corev1.PodRunning, true), pod("waits", "", corev1.PodPending, false),
			pod("never bound", "", corev1.PodPending, true), pod("lost", "gone", corev1.PodRunning, false), pod("perhaps lost", "missing", corev1.PodRunning, false),
			pod("stuck", "down", corev1.PodRunning, true), pod("not asked to go", "down", corev1.PodRunning, false),
		},
	}
	got := map[string]string{}
	for _, d := range NewPlan(s) {
		got[d.Pod.Name] = d.Reason
	}
	want := map[string]string{"never bound": "", "lost": "DeletionByPodGC", "stuck": ""}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOldestFinishedGoFirst(t *testing.T) {
	s := Snapshot{Now: epoch(), Nodes: map[string]*corev1.Node{"here": {}}}
	for i := range Threshold + 2 {
		p := pod(fmt.Sprint(i), "here", corev1.PodSucceeded, false)
		p.CreationTimestamp = metav1.NewTime(epoch().Add(-time.Duration(i) * time.Second))
		s.Pods = append(s.Pods, p)
	}
	plan := NewPlan(s)
	if len(plan) != 2 || plan[0].Pod.Name != fmt.Sprint(Threshold+1) || plan[1].Pod.Name != fmt.Sprint(Threshold) {
		t.Errorf("%d pods", len(plan))
	}
}

func TestEvictedGoBeforeOlderFinished(t *testing.T) {
	s := Snapshot{Now: epoch(), Nodes: map[string]*corev1.Node{"here": {}}}
	for i := range Threshold + 1 {
		p := pod(fmt.Sprint(i), "here", corev1.PodFailed, false)
		p.CreationTimestamp = metav1.NewTime(epoch().Add(-time.Duration(i) * time.Second))
		s.Pods = append(s.Pods, p)
	}
	s.Pods[7].Status.Reason = "Evicted"
	if plan := NewPlan(s); len(plan) != 1 || plan[0].Pod.Name != "7" {
		t.Errorf("%d pods, %s first", len(plan), plan[0].Pod.Name)
	}
}
