package plugins

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/scheduler/framework"
)

// EventsToRegister waits for pods that the constraints count, for the pod's own labels and tolerations, and for nodes that
// join or leave a domain.
func (p *PodTopologySpread) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Add|framework.Delete|framework.UpdatePodLabel, p.otherPodHint),
		on(framework.TargetPod, framework.UpdatePodToleration|framework.UpdatePodLabel, p.ownHint),
		on(framework.Node, framework.Add|framework.Delete|framework.UpdateNodeLabel|framework.UpdateNodeTaint, p.nodeHint),
	}
}

// otherPodHint: a pod on a node comes to be counted, or is counted no more.
func (p *PodTopologySpread) otherPodHint(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	spreads, err := p.spreadsOf(pod.Pod, corev1.DoNotSchedule)
	if err != nil {
		return framework.Queue
	}
	before, existed := change.Old.(*corev1.Pod)
	after, exists := change.New.(*corev1.Pod)
	concerns := func(other *corev1.Pod) bool {
		return (other.Spec.NodeName != "" || other.Status.NominatedNodeName != "") && other.Namespace == pod.Pod.Namespace
	}
	switch {
	case !existed && !exists:
		return framework.Queue
	case (existed && !concerns(before)) || (exists && !concerns(after)):
		return framework.QueueSkip
	case existed && exists:
		return queueIf(countedDifferently(spreads, before, after))
	case exists:
		return queueIf(countedByAny(spreads, after))
	default:
		return queueIf(countedByAny(spreads, before))
	}
}

// ownHint: the pod is counted differently, or tolerates more while taints are honored.
func (p *PodTopologySpread) ownHint(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	spreads, err := p.spreadsOf(pod.Pod, corev1.DoNotSchedule)
	before, existed := change.Old.(*framework.PodInfo)
	after, exists := change.New.(*framework.PodInfo)
	if err != nil || !existed || !exists {
		return framework.Queue
	}
	honored := slices.ContainsFunc(spreads, func(s spread) bool { return s.honorTaint })
	if honored && !equality.Semantic.DeepEqual(before.Pod.Spec.Tolerations, after.Pod.Spec.Tolerations) {
		return framework.Queue
	}
	return queueIf(countedDifferently(spreads, before.Pod, after.Pod))
}

// nodeHint: a node comes to or leaves the domains, changes between them, or changes its taints there.
func (p *PodTopologySpread) nodeHint(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	spreads, err := p.spreadsOf(pod.Pod, corev1.DoNotSchedule)
	before, existed := change.Old.(*corev1.Node)
	after, exists := change.New.(*corev1.Node)
	if err != nil || (!existed && !exists) {
		return framework.Queue
	}
	was, is := existed && hasAllKeys(before, spreads), exists && hasAllKeys(after, spreads)
	if was != is || !existed || !exists {
		return queueIf(was || is)
	}
	moved := slices.ContainsFunc(spreads, func(s spread) bool { return before.Labels[s.key] != after.Labels[s.key] })
	return queueIf(is && (moved || !equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints)))
}

func countedByAny(spreads []spread, pod *corev1.Pod) bool {
	return slices.ContainsFunc(spreads, func(s spread) bool { return s.selector.Matches(labels.Set(pod.Labels)) })
}

func countedDifferently(spreads []spread, before, after *corev1.Pod) bool {
	return slices.ContainsFunc(spreads, func(s spread) bool {
		return s.selector.Matches(labels.Set(before.Labels)) != s.selector.Matches(labels.Set(after.Labels))
	})
}
