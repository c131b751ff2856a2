// Package podset owns what controllers do with the pods of a workload: their state, their order of deletion, and
// making and deleting them with the events and names users know.
package podset

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Active answers whether the pod counts as running or coming: neither finished nor terminating.
func Active(pod *corev1.Pod) bool {
	return !Finished(pod) && pod.DeletionTimestamp == nil
}

// Terminating answers whether the pod was deleted but has not finished yet.
func Terminating(pod *corev1.Pod) bool {
	return !Finished(pod) && pod.DeletionTimestamp != nil
}

// Finished answers whether the pod's phase is final.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Select answers the pods for which keep is true.
func Select(pods []*corev1.Pod, keep func(*corev1.Pod) bool) []*corev1.Pod {
	var kept []*corev1.Pod
	for _, p := range pods {
		if keep(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// Condition answers the pod's condition of that type, nil without one.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// Ready answers whether the pod's Ready condition is true.
func Ready(pod *corev1.Pod) bool {
	c := Condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Available answers whether the pod has been ready for minReadySeconds.
func Available(pod *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	return Ready(pod) && AvailableIn(pod, minReadySeconds, now) == 0
}

// AvailableIn answers how long a ready pod must stay ready until it is available; 0 for an available pod and for one
// that is not ready, which no lapse of time makes available.
func AvailableIn(pod *corev1.Pod, minReadySeconds int32, now time.Time) time.Duration {
	c := Condition(pod, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue || minReadySeconds == 0 {
		return 0
	}
	wait := time.Duration(minReadySeconds) * time.Second
	if c.LastTransitionTime.IsZero() {
		return wait
	}
	return max(0, c.LastTransitionTime.Add(wait).Sub(now))
}

// NextAvailable answers after how long the first of the ready pods becomes available; 0 when none will by time alone.
func NextAvailable(pods []*corev1.Pod, minReadySeconds int32, now time.Time) time.Duration {
	var next time.Duration
	for _, p := range pods {
		if in := AvailableIn(p, minReadySeconds, now); in > 0 && (next == 0 || in < next) {
			next = in
		}
	}
	return next
}
