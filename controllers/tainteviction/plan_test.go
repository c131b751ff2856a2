package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestStay(t *testing.T) {
	tolerates := func(key string, seconds ...int64) corev1.Toleration {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
		if len(seconds) > 0 {
			t.TolerationSeconds = &seconds[0]
		}
		return t
	}
	taints := func(keys ...string) []corev1.Taint {
		all := []corev1.Taint{{Key: "busy", Effect: corev1.TaintEffectNoSchedule}}
		for _, k := range keys {
			all = append(all, corev1.Taint{Key: k, Effect: corev1.TaintEffectNoExecute})
		}
		return all
	}
	tests := []struct {
		name        string
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		want        time.Duration
	}{
		{"no such taint", nil, taints(), Forever},
		{"not tolerated", nil, taints("a"), 0},
		{"tolerated for ever", []corev1.Toleration{tolerates("a")}, taints("a"), Forever},
		{"for a time", []corev1.Toleration{tolerates("a", 300)}, taints("a"), 5 * time.Minute},
		{"the shorter of two", []corev1.Toleration{tolerates("a", 300), tolerates("b", 60)}, taints("a", "b"), time.Minute},
		{"the shorter of two for one taint", []corev1.Toleration{tolerates("a"), tolerates("a", 60)}, taints("a"), time.Minute},
		{"one of two", []corev1.Toleration{tolerates("a", 300)}, taints("a", "b"), 0},
		{"less than nothing", []corev1.Toleration{tolerates("a", -5)}, taints("a"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
			if got := Stay(pod, tt.taints); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
