package podset

import (
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ranked is a pod with the number of related pods on its node.
type Ranked struct {
	Pod  *corev1.Pod
	Rank int
}

// SortForDeletion orders pods so that those whose loss costs least come first: unassigned, pending, not ready, of
// lower deletion cost, doubled up on a node, ready for a shorter time (compared by powers of two, so that pods of
// about the same age are chosen at random by UID), restarted more often, younger.
func SortForDeletion(pods []Ranked, now time.Time) {
	slices.SortStableFunc(pods, func(a, b Ranked) int { return compareRanked(a, b, now) })
}

func compareRanked(a, b Ranked, now time.Time) int {
	p, q := a.Pod, b.Pod
	for _, c := range []int{
		falseFirst(p.Spec.NodeName != "", q.Spec.NodeName != ""),
		phaseOrder(p) - phaseOrder(q),
		falseFirst(Ready(p), Ready(q)),
		compare(deletionCost(p), deletionCost(q)),
		b.Rank - a.Rank,
		compareReadyTimes(p, q, now),
		compareRestarts(p, q),
	} {
		if c != 0 {
			return c
		}
	}
	return compareAges(p, q, p.CreationTimestamp, q.CreationTimestamp, now)
}

func phaseOrder(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodUnknown:
		return 1
	case corev1.PodRunning:
		return 2
	}
	return 0
}

func deletionCost(p *corev1.Pod) int32 {
	value, ok := p.Annotations[corev1.PodDeletionCost]
	if !ok {
		return 0
	}
	cost, err := strconv.ParseInt(value, 10, 32)
	if err != nil || (value[0] == '0' && value != "0") || value[0] == '+' {
		return 0 // admission refuses these values; an old object with one costs nothing
	}
	return int32(cost)
}

func compareReadyTimes(p, q *corev1.Pod, now time.Time) int {
	if !Ready(p) || !Ready(q) {
		return 0
	}
	a, b := Condition(p, corev1.PodReady).LastTransitionTime, Condition(q, corev1.PodReady).LastTransitionTime
	return compareAges(p, q, a, b, now)
}

// compareAges puts the younger first; ages within the same power of two are equal and decided by UID.
func compareAges(p, q *corev1.Pod, a, b metav1.Time, now time.Time) int {
	switch {
	case a.Equal(&b):
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	if c := magnitude(now.Sub(a.Time)) - magnitude(now.Sub(b.Time)); c != 0 {
		return c
	}
	return compare(p.UID, q.UID)
}

func magnitude(age time.Duration) int {
	if age <= 0 {
		return -1
	}
	return int(math.Log2(float64(age)))
}

// compareRestarts puts the pod whose worst container restarted more often first; restartable init containers decide
// only between pods whose containers are equal.
func compareRestarts(p, q *corev1.Pod) int {
	regularP, sidecarP := maxRestarts(p)
	regularQ, sidecarQ := maxRestarts(q)
	if c := compare(regularQ, regularP); c != 0 {
		return c
	}
	return compare(sidecarQ, sidecarP)
}

func maxRestarts(p *corev1.Pod) (regular, sidecar int32) {
	for _, c := range p.Status.ContainerStatuses {
		regular = max(regular, c.RestartCount)
	}
	always := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		always[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, c := range p.Status.InitContainerStatuses {
		if always[c.Name] {
			sidecar = max(sidecar, c.RestartCount)
		}
	}
	return regular, sidecar
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func compare[T ~string | ~int32](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
