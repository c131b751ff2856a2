package plugins_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// relabelled, retainted and retolerating are updates as the scheduler's handlers report them.
func relabelled(before, after *corev1.Node) framework.Change {
	return changed(framework.Node, framework.UpdateNodeLabel, before, after)
}

func retainted(before, after *corev1.Node) framework.Change {
	return changed(framework.Node, framework.UpdateNodeTaint, before, after)
}

func TestTaintHints(t *testing.T) {
	tainted := func(key string) *corev1.Node { return makeNode("a", taint(key, "", corev1.TaintEffectNoSchedule)) }
	pod := makePod("p", tolerate("k", corev1.TolerationOpExists, ""))
	checkHints(t, "TaintToleration", []hintCase{
		{"node with a taint it tolerates", pod, added(framework.Node, tainted("k")), true},
		{"node with another taint", pod, added(framework.Node, tainted("x")), false},
		{"taint goes", pod, retainted(tainted("x"), makeNode("a")), true},
		{"taint that it tolerates goes", pod, retainted(tainted("k"), makeNode("a")), false},
		{"taint comes", pod, retainted(makeNode("a"), tainted("x")), false},
	})
	checkHints(t, "NodeUnschedulable", []hintCase{
		{"new node", pod, added(framework.Node, makeNode("a")), true},
		{"new cordoned node", pod, added(framework.Node, makeNode("a", cordoned)), false},
		{"uncordoned", pod, retainted(makeNode("a", cordoned), makeNode("a")), true},
		{"taint of a node that wasn't cordoned", pod, retainted(tainted("x"), makeNode("a")), false},
	})
}

func TestDeclaredFeatureHints(t *testing.T) {
	const feature = "RestartAllContainersOnContainerExits"
	pod := makePod("p", restartsAll)
	redeclared := func(before, after *corev1.Node) framework.Change {
		return changed(framework.Node, framework.NodeChange(before, after), before, after)
	}
	checkHints(t, "NodeDeclaredFeatures", []hintCase{
		{"node comes", pod, added(framework.Node, makeNode("a")), true},
		{"node declares", pod, redeclared(makeNode("a"), makeNode("a", declares(feature))), true},
		{"another change of a node", pod, redeclared(makeNode("a", declares(feature)), makeNode("a", declares(feature), cordoned)), false},
		{"pod needs it no more", pod, changed(framework.TargetPod, framework.UpdateOther, info(t, pod), info(t, makePod("p"))), true},
		{"another change of the pod", pod, changed(framework.TargetPod, framework.UpdatePodLabel, info(t, pod), info(t, makePod("p", restartsAll))), false},
	})
}

// declares makes a node declare a feature.
func declares(feature string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.DeclaredFeatures = append(n.Status.DeclaredFeatures, feature) }
}

// restartsAll makes a pod need a node that can restart all its containers.
func restartsAll(p *corev1.Pod) {
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "all", RestartPolicyRules: []corev1.ContainerRestartRule{
		{Action: corev1.ContainerRestartRuleActionRestartAllContainers},
	}})
}

func TestTolerationHint(t *testing.T) {
	w := newWorld(t, nil)
	before := makePod("p")
	for key, want := range map[string]bool{corev1.TaintNodeUnschedulable: true, "else": false} {
		after := makePod("p", tolerate(key, corev1.TolerationOpExists, ""))
		change := changed(framework.TargetPod, framework.UpdatePodToleration, info(t, before), info(t, after))
		if got := w.wakes("NodeUnschedulable", after, change); got != want {
			t.Errorf("tolerating %s wakes the pod: %v, want %v", key, got, want)
		}
	}
}

func TestPortHints(t *testing.T) {
	pod := makePod("p", hostPort("", 80, ""))
	checkHints(t, "NodePorts", []hintCase{
		{"holder goes", pod, deleted(framework.AssignedPod, makePod("x", at("a"), hostPort("", 80, ""))), true},
		{"holder of another port goes", pod, deleted(framework.AssignedPod, makePod("x", at("a"), hostPort("", 81, ""))), false},
		{"waiting pod goes", pod, deleted(framework.AssignedPod, makePod("x", hostPort("", 80, ""))), false},
		{"node comes", pod, added(framework.Node, makeNode("a")), true},
		{"taint goes", pod, retainted(makeNode("a"), makeNode("a")), false},
	})
}

func TestNodeAffinityHints(t *testing.T) {
	pod := makePod("p", selectNodes("disk", "ssd"))
	ssd := makeNode("a", labels("disk", "ssd"))
	checkHints(t, "NodeAffinity", []hintCase{
		{"node that matches", pod, added(framework.Node, ssd), true},
		{"node that doesn't", pod, added(framework.Node, makeNode("a")), false},
		{"node comes to match", pod, relabelled(makeNode("a"), ssd), true},
		{"node goes on to match", pod, relabelled(ssd, makeNode("a", labels("disk", "ssd", "x", "y"))), false},
	})
}

func TestSpreadHints(t *testing.T) {
	honor := func(c *corev1.TopologySpreadConstraint) { c.NodeTaintsPolicy = new(corev1.NodeInclusionPolicyHonor) }
	pod := makePod("p", spread(1, "zone", corev1.DoNotSchedule))
	counted, other := makePod("x", at("a"), podLabels("app", "a")), makePod("x", at("a"))
	waiting := makePod("x", podLabels("app", "a"))
	zone := func(value string) *corev1.Node { return makeNode("a", labels("zone", value)) }
	relabel := func(before, after *corev1.Pod) framework.Change {
		return changed(framework.AssignedPod, framework.UpdatePodLabel, before, after)
	}
	target := func(action framework.ActionType, before, after *corev1.Pod) framework.Change {
		return changed(framework.TargetPod, action, info(t, before), info(t, after))
	}
	tolerant := makePod("p", spread(1, "zone", corev1.DoNotSchedule), tolerate("k", corev1.TolerationOpExists, ""))
	strict := makePod("p", spread(1, "zone", corev1.DoNotSchedule, honor))
	strictTolerant := makePod("p", spread(1, "zone", corev1.DoNotSchedule, honor), tolerate("k", corev1.TolerationOpExists, ""))
	checkHints(t, "PodTopologySpread", []hintCase{
		{"counted pod comes", pod, added(framework.AssignedPod, counted), true},
		{"other pod comes", pod, added(framework.AssignedPod, other), false},
		{"counted pod goes", pod, deleted(framework.AssignedPod, counted), true},
		{"waiting pod goes", pod, deleted(framework.AssignedPod, waiting), false},
		{"pod is counted no more", pod, relabel(counted, other), true},
		{"counted pod gets another label", pod, relabel(counted, makePod("x", at("a"), podLabels("app", "a", "v", "2"))), false},
		{"own label changes what is counted", pod, target(framework.UpdatePodLabel, makePod("p", spread(1, "zone", corev1.DoNotSchedule)), makePod("p", podLabels("app", "a"))), true},
		{"own label changes nothing", pod, target(framework.UpdatePodLabel, pod, makePod("p", podLabels("v", "2"))), false},
		{"own toleration, taints honored", strictTolerant, target(framework.UpdatePodToleration, strict, strictTolerant), true},
		{"own toleration, taints ignored", tolerant, target(framework.UpdatePodToleration, pod, tolerant), false},
		{"node of a domain", pod, added(framework.Node, zone("a")), true},
		{"node of no domain", pod, added(framework.Node, makeNode("a")), false},
		{"node of a domain goes", pod, deleted(framework.Node, zone("a")), true},
		{"node of no domain goes", pod, deleted(framework.Node, makeNode("a")), false},
		{"node joins a domain", pod, relabelled(makeNode("a"), zone("a")), true},
		{"node changes its domain", pod, relabelled(zone("a"), zone("b")), true},
		{"node gets another label", pod, relabelled(zone("a"), makeNode("a", labels("zone", "a", "x", "y"))), false},
		{"taint of a node in a domain", pod, retainted(zone("a"), makeNode("a", labels("zone", "a"), taint("k", "", corev1.TaintEffectNoSchedule))), true},
		{"taint of a node in no domain", pod, retainted(makeNode("a"), makeNode("a", taint("k", "", corev1.TaintEffectNoSchedule))), false},
	})
}

func TestPodAffinityHints(t *testing.T) {
	nearA, awayA := makePod("p", near(podTerm("zone", "app", "a"))), makePod("p", away(podTerm("zone", "app", "a")))
	is, isnt, waiting := makePod("x", at("a"), podLabels("app", "a")), makePod("x", at("a")), makePod("x", podLabels("app", "a"))
	shunner := makePod("x", at("a"), away(podTerm("zone", "app", "a")))
	zone := func(value string) *corev1.Node { return makeNode("a", labels("zone", value)) }
	relabel := func(before, after *corev1.Pod) framework.Change {
		return changed(framework.AssignedPod, framework.UpdatePodLabel, before, after)
	}
	checkHints(t, "InterPodAffinity", []hintCase{
		{"pod to be near comes", nearA, added(framework.AssignedPod, is), true},
		{"other pod comes", nearA, added(framework.AssignedPod, isnt), false},
		{"waiting pod comes", nearA, added(framework.AssignedPod, waiting), false},
		{"pod becomes one to be near", nearA, relabel(isnt, is), true},
		{"pod to be near gets another label", nearA, relabel(is, makePod("x", at("a"), podLabels("app", "a", "v", "2"))), false},
		{"pod to be away from becomes another", awayA, relabel(is, isnt), true},
		{"pod becomes one to be away from", awayA, relabel(isnt, is), false},
		{"pod to be away from goes", awayA, deleted(framework.AssignedPod, is), true},
		{"other pod goes", awayA, deleted(framework.AssignedPod, isnt), false},
		{"pod that shuns it goes", makePod("p", podLabels("app", "a")), deleted(framework.AssignedPod, shunner), true},
		{"node of a domain to be near in", nearA, added(framework.Node, zone("a")), true},
		{"node of no domain, near", nearA, added(framework.Node, makeNode("a")), false},
		{"node of no domain, away", awayA, added(framework.Node, makeNode("a")), true},
		{"node, no terms", makePod("p"), added(framework.Node, zone("a")), false},
		{"node joins a domain, near", nearA, relabelled(makeNode("a"), zone("a")), true},
		{"node joins a domain, away", awayA, relabelled(makeNode("a"), zone("a")), false},
		{"node leaves its domain, near", nearA, relabelled(zone("a"), makeNode("a")), false},
		{"node leaves its domain, away", awayA, relabelled(zone("a"), makeNode("a")), true},
		{"node changes its domain, near", nearA, relabelled(zone("a"), zone("b")), true},
		{"node changes its domain, away", awayA, relabelled(zone("a"), zone("b")), true},
		{"node gets another label", awayA, relabelled(zone("a"), makeNode("a", labels("zone", "a", "x", "y"))), false},
		{"taint goes", nearA, retainted(zone("a"), zone("a")), false},
	})
}
