package tainteviction

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// Forever is the answer for a pod that may stay.
const Forever = time.Duration(math.MaxInt64)

// Stay answers how long a pod may stay on a node with these taints: no time at all if it does not tolerate one of the
// NoExecute taints, else the shortest of its tolerations' times.
func Stay(pod *corev1.Pod, taints []corev1.Taint) time.Duration {
	stay := Forever
	for i := range taints {
		if taints[i].Effect != corev1.TaintEffectNoExecute {
			continue
		}
		stay = min(stay, tolerated(pod.Spec.Tolerations, &taints[i]))
	}
	return stay
}

// tolerated answers the shortest time of the tolerations that match the taint; 0 without one.
func tolerated(tolerations []corev1.Toleration, taint *corev1.Taint) time.Duration {
	shortest, found := Forever, false
	for i := range tolerations {
		t := &tolerations[i]
		if !t.ToleratesTaint(klog.Logger{}, taint, true) {
			continue
		}
		found = true
		if t.TolerationSeconds != nil {
			shortest = min(shortest, max(0, time.Duration(*t.TolerationSeconds)*time.Second))
		}
	}
	if !found {
		return 0
	}
	return shortest
}
