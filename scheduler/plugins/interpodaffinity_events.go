package plugins

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// EventsToRegister waits for pods that the terms (or whose terms) concern, for the pod's own labels, and for nodes that join
// or leave a domain of the terms.
func (p *InterPodAffinity) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Add|framework.Delete|framework.UpdatePodLabel, p.podHint),
		on(framework.TargetPod, framework.UpdatePodLabel, nil),
		on(framework.Node, framework.Add|framework.UpdateNodeLabel, nodeHint),
	}
}

// podHint: a pod that comes, or gets other labels, can satisfy affinity; one that goes, or gets other labels, can end a
// conflict of anti-affinity.
func (p *InterPodAffinity) podHint(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	s, err := p.newState(pod)
	before, existed := change.Old.(*corev1.Pod)
	after, exists := change.New.(*corev1.Pod)
	if err != nil || (!existed && !exists) {
		return framework.Queue
	}
	placed := func(other *corev1.Pod) bool { return other.Spec.NodeName != "" || other.Status.NominatedNodeName != "" }
	switch {
	case (existed && !placed(before)) || (exists && !placed(after)):
		return framework.QueueSkip
	case existed && exists:
		return queueIf((!matchesAll(s.affinityTerms, before) && matchesAll(s.affinityTerms, after)) ||
			(matchesAny(s.antiTerms, before) && !matchesAny(s.antiTerms, after)))
	case exists:
		return queueIf(matchesAll(s.affinityTerms, after))
	case matchesAny(s.antiTerms, before):
		return framework.Queue
	}
	gone, err := framework.NewPodInfo(before)
	return queueIf(err != nil || slices.ContainsFunc(gone.RequiredAntiAffinity, func(t framework.AffinityTerm) bool {
		return t.Matches(pod.Pod, s.nsLabels)
	}))
}

func matchesAny(terms []framework.AffinityTerm, pod *corev1.Pod) bool {
	return slices.ContainsFunc(terms, func(t framework.AffinityTerm) bool { return t.Matches(pod, nil) })
}

// nodeHint: a node joins a domain of affinity, leaves one of anti-affinity, or changes between domains of either. A new
// node helps anti-affinity whatever its labels: without the key it takes anybody.
func nodeHint(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	after, ok := change.New.(*corev1.Node)
	if !ok {
		return framework.Queue
	}
	before, existed := change.Old.(*corev1.Node)
	for i := range pod.RequiredAffinity {
		key := pod.RequiredAffinity[i].TopologyKey
		is, has := after.Labels[key]
		if has && (!existed || before.Labels[key] != is || !hasLabel(before, key)) {
			return framework.Queue
		}
	}
	for i := range pod.RequiredAntiAffinity {
		key := pod.RequiredAntiAffinity[i].TopologyKey
		if !existed || (hasLabel(before, key) && (!hasLabel(after, key) || before.Labels[key] != after.Labels[key])) {
			return framework.Queue
		}
	}
	return framework.QueueSkip
}

func hasLabel(node *corev1.Node, key string) bool {
	_, ok := node.Labels[key]
	return ok
}
