package staledisruption

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLeft(t *testing.T) {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		status corev1.ConditionStatus
		reason string
		ago    time.Duration
		change func(*corev1.Pod)
		left   time.Duration
		ok     bool
	}{
		{name: "just announced", status: "True", left: 2 * time.Minute, ok: true},
		{name: "announced before", status: "True", ago: 90 * time.Second, left: 30 * time.Second, ok: true},
		{name: "announced long ago", status: "True", ago: time.Hour, ok: true},
		{name: "withdrawn", status: "False"},
		{name: "by the kubelet", status: "True", reason: "TerminationByKubelet", ago: time.Hour},
		{name: "deleted", status: "True", ago: time.Hour, change: func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }},
		{name: "finished", status: "True", ago: time.Hour, change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		{name: "never announced", status: "True", ago: time.Hour, change: func(p *corev1.Pod) { p.Status.Conditions[0].Type = corev1.PodReady }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
				Type: corev1.DisruptionTarget, Status: tt.status, Reason: tt.reason, LastTransitionTime: metav1.NewTime(now.Add(-tt.ago)),
			}}}}
			if tt.change != nil {
				tt.change(pod)
			}
			if left, ok := Left(pod, now); left != tt.left || ok != tt.ok {
				t.Errorf("got %s, %v", left, ok)
			}
		})
	}
}
