package podgc

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/controllers/internal/podset"
)

// Threshold is how many finished pods may lie around.
const Threshold = 12500

// Quarantine is how long the node of a pod may be missing before the pod is given up: a node may be registered anew.
const Quarantine = 40 * time.Second

// Doomed is a pod to be removed for good.
type Doomed struct {
	Pod *corev1.Pod
	// Reason and Message, if set, are written as the pod's DisruptionTarget condition first.
	Reason, Message string
}

// Snapshot is what a plan is made from.
type Snapshot struct {
	Pods []*corev1.Pod
	// Nodes are the known nodes by name.
	Nodes map[string]*corev1.Node
	// Gone are the nodes that are missing, with the time since when.
	Gone map[string]time.Time
	Now  time.Time
}

// NewPlan answers the pods to remove: finished ones beyond the threshold, those of nodes that are gone, those that
// were deleted before they were bound, and those stuck on a node that is shut down.
func NewPlan(s Snapshot) []Doomed {
	plan := finished(s.Pods)
	for _, p := range s.Pods {
		node, known := s.Nodes[p.Spec.NodeName]
		switch {
		case p.Spec.NodeName == "" && p.DeletionTimestamp != nil:
			plan = append(plan, Doomed{Pod: p})
		case p.Spec.NodeName == "":
		case !known && s.Now.Sub(s.missingSince(p.Spec.NodeName)) >= Quarantine:
			plan = append(plan, Doomed{p, "DeletionByPodGC", "PodGC: node no longer exists"})
		case known && p.DeletionTimestamp != nil && outOfService(node):
			plan = append(plan, Doomed{Pod: p})
		}
	}
	return plan
}

func (s Snapshot) missingSince(node string) time.Time {
	if at, ok := s.Gone[node]; ok {
		return at
	}
	return s.Now
}

func finished(pods []*corev1.Pod) []Doomed {
	done := podset.Select(pods, func(p *corev1.Pod) bool { return podset.Finished(p) && p.DeletionTimestamp == nil })
	if len(done) <= Threshold {
		return nil
	}
	slices.SortFunc(done, func(a, b *corev1.Pod) int {
		return cmp.Or(-compare(evicted(a), evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var plan []Doomed
	for _, p := range done[:len(done)-Threshold] {
		plan = append(plan, Doomed{Pod: p})
	}
	return plan
}

// evicted answers whether a node drove the pod away: such pods go first, for they may be many.
func evicted(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == "Evicted"
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// outOfService answers whether an administrator has declared a node that is not ready as shut down.
func outOfService(node *corev1.Node) bool {
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
