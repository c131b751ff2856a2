package plugins

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// NodeResourcesFit keeps pods off nodes without enough left of what they request, and prefers the least allocated node.
type NodeResourcesFit struct{}

// NewNodeResourcesFit makes the plugin.
func NewNodeResourcesFit() NodeResourcesFit { return NodeResourcesFit{} }

// Name implements framework.Plugin.
func (NodeResourcesFit) Name() string { return "NodeResourcesFit" }

// Filter names everything the node lacks. A request above the node's whole capacity can't be helped by preemption.
func (p NodeResourcesFit) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	reasons, unresolvable := insufficient(c.Pod.Requests, node)
	if len(reasons) == 0 {
		return nil
	}
	code := framework.Unschedulable
	if unresolvable {
		code = framework.UnschedulableAndUnresolvable
	}
	return framework.NewStatus(code, reasons...).WithPlugin(p.Name())
}

func insufficient(want framework.Resource, node *framework.NodeInfo) (reasons []string, unresolvable bool) {
	if len(node.Pods)+1 > node.Allocatable.AllowedPods {
		reasons = append(reasons, "Too many pods")
	}
	lacks := func(request, allocatable, used int64, reason string) {
		if request > 0 && request > allocatable-used {
			reasons = append(reasons, reason)
			unresolvable = unresolvable || request > allocatable
		}
	}
	lacks(want.MilliCPU, node.Allocatable.MilliCPU, node.Requested.MilliCPU, "Insufficient cpu")
	lacks(want.Memory, node.Allocatable.Memory, node.Requested.Memory, "Insufficient memory")
	lacks(want.EphemeralStorage, node.Allocatable.EphemeralStorage, node.Requested.EphemeralStorage, "Insufficient ephemeral-storage")
	for name, request := range want.Scalar {
		if request > node.Allocatable.Scalar[name]-node.Requested.Scalar[name] {
			lacks(request, node.Allocatable.Scalar[name], node.Requested.Scalar[name], fmt.Sprintf("Insufficient %s", name))
		}
	}
	return reasons, unresolvable
}

// Score is the mean of the free shares of CPU and memory after placing the pod, where containers without requests count
// with defaults.
func (NodeResourcesFit) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	var sum, weights int64
	leastAllocated := func(requested, capacity int64) {
		if capacity == 0 {
			return
		}
		weights++
		if requested <= capacity {
			sum += (capacity - requested) * framework.MaxNodeScore / capacity
		}
	}
	leastAllocated(node.NonZeroCPU+c.Pod.NonZeroCPU, node.Allocatable.MilliCPU)
	leastAllocated(node.NonZeroMemory+c.Pod.NonZeroMemory, node.Allocatable.Memory)
	if weights == 0 {
		return 0, nil
	}
	return sum / weights, nil
}

// EventsToRegister waits for pods to leave or shrink, for nodes that have room, and for the pod itself to shrink.
func (NodeResourcesFit) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Delete|framework.UpdatePodScaleDown, nil),
		on(framework.TargetPod, framework.UpdatePodScaleDown, nil),
		on(framework.Node, framework.Add|framework.UpdateNodeAllocatable|framework.UpdateNodeTaint, func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			node, ok := change.New.(*corev1.Node)
			if !ok {
				return framework.Queue
			}
			empty := &framework.NodeInfo{}
			reasons, _ := insufficient(pod.Requests, empty.WithNode(node))
			return queueIf(len(reasons) == 0)
		}),
	}
}
