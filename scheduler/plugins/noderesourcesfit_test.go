package plugins_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

func TestFitHints(t *testing.T) {
	node := func(pairs ...string) *corev1.Node { return makeNode("a", allocatable(pairs...)) }
	grows := func(before, after *corev1.Node) framework.Change {
		return changed(framework.Node, framework.UpdateNodeAllocatable, before, after)
	}
	shrinks := func(before, after *corev1.Pod) framework.Change {
		return changed(framework.AssignedPod, framework.UpdatePodScaleDown, before, after)
	}
	cpu := makePod("p", requests("cpu", "2"))
	gpu := makePod("p", requests("example.com/gpu", "1"))
	nominated := makePod("x")
	nominated.Status.NominatedNodeName = "a"
	unnamed := deviceClass("gpu")
	checkHints(t, "NodeResourcesFit", []hintCase{
		{"a pod leaves its node", cpu, deleted(framework.AssignedPod, makePod("x", at("a"))), true},
		{"a nominated pod goes", cpu, deleted(framework.AssignedPod, nominated), true},
		{"a pod without a node goes", cpu, deleted(framework.AssignedPod, makePod("x")), false},
		{"a node with room", cpu, added(framework.Node, node("cpu", "2", "pods", "1")), true},
		{"a node without room", cpu, added(framework.Node, node("cpu", "1", "pods", "1")), false},
		{"a node for no pods", cpu, added(framework.Node, node("cpu", "2")), false},
		{"more of what it wants", cpu, grows(node("cpu", "2", "pods", "1"), node("cpu", "3", "pods", "1")), true},
		{"more, not enough", cpu, grows(node("cpu", "500m", "pods", "1"), node("cpu", "1", "pods", "1")), false},
		{"more of something else", cpu, grows(node("cpu", "2", "pods", "1"), node("cpu", "2", "memory", "1Gi", "pods", "1")), false},
		{"more pods", cpu, grows(node("cpu", "2", "pods", "1"), node("cpu", "2", "pods", "2")), true},
		{"less of it", cpu, grows(node("cpu", "4", "pods", "1"), node("cpu", "3", "pods", "1")), false},
		{"taints alone", cpu, changed(framework.Node, framework.UpdateNodeTaint, node("cpu", "2", "pods", "1"), node("cpu", "2", "pods", "1")), false},
		{"a pod that wants nothing", makePod("p"), grows(node("cpu", "2", "pods", "1"), node("cpu", "3", "pods", "1")), false},
		{"another pod wants less of it", cpu, shrinks(makePod("x", at("a"), requests("cpu", "2")), makePod("x", at("a"), requests("cpu", "1"))), true},
		{"another pod wants less of something else", cpu, shrinks(makePod("x", at("a"), requests("memory", "2")), makePod("x", at("a"), requests("memory", "1"))), false},
		{"a pod without a node wants less", cpu, shrinks(makePod("x", requests("cpu", "2")), makePod("x", requests("cpu", "1"))), false},
		{"a class comes to stand behind it", gpu, added(framework.DeviceClass, backing("example.com/gpu")), true},
		{"a class stands behind it now", gpu, updated(framework.DeviceClass, unnamed, backing("example.com/gpu")), true},
		{"a class goes on to stand behind it", gpu, updated(framework.DeviceClass, backing("example.com/gpu"), backing("example.com/gpu")), false},
		{"a class stands behind something else", gpu, added(framework.DeviceClass, backing("example.com/else")), false},
		{"a class of its name comes", makePod("p", requests("deviceclass.resource.kubernetes.io/gpu", "1")), added(framework.DeviceClass, unnamed), true},
		{"the pod itself wants less", cpu, changed(framework.TargetPod, framework.UpdatePodScaleDown, cpu, cpu), true},
	})
}

// TestPodLevelRequestsAreScored: what the pod level leaves open counts with a default for every container that leaves it
// open, too.
func TestPodLevelRequestsAreScored(t *testing.T) {
	pod := makePod("p", requests("memory", "1Gi"), container("idle", "example.com/none", 0), func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: resources("cpu", "1")}
	})
	// (4000-1000)/4000 CPU, (4096-1024-200)/4096 memory.
	if got := newWorld(t, []*corev1.Node{makeNode("a")}).scores("NodeResourcesFit", pod)["a"]; got != (75+70)/2 {
		t.Errorf("score %d, want %d", got, (75+70)/2)
	}
}
