package plugins

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// NodeResourcesFit keeps pods off nodes without enough left of what they request, and scores nodes by how much of their
// resources is used.
type NodeResourcesFit struct {
	ignored, ignoredGroups sets.Set[string]
	strategy               scoringStrategy
}

// NewNodeResourcesFit makes the plugin; nil arguments prefer the node with the most CPU and memory left.
func NewNodeResourcesFit(args *schedv1.NodeResourcesFitArgs) NodeResourcesFit {
	if args == nil {
		args = &schedv1.NodeResourcesFitArgs{}
	}
	return NodeResourcesFit{
		ignored: sets.New(args.IgnoredResources...), ignoredGroups: sets.New(args.IgnoredResourceGroups...),
		strategy: newScoringStrategy(args.ScoringStrategy),
	}
}

// Name implements framework.Plugin.
func (NodeResourcesFit) Name() string { return "NodeResourcesFit" }

// Filter names everything the node lacks. A request above the node's whole capacity can't be helped by preemption.
func (p NodeResourcesFit) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	reasons, unresolvable := p.insufficient(c.Pod.Requests, node)
	if len(reasons) == 0 {
		return nil
	}
	code := framework.Unschedulable
	if unresolvable {
		code = framework.UnschedulableAndUnresolvable
	}
	return framework.NewStatus(code, reasons...).WithPlugin(p.Name())
}

func (p NodeResourcesFit) insufficient(want framework.Resource, node *framework.NodeInfo) (reasons []string, unresolvable bool) {
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
		if request > node.Allocatable.Scalar[name]-node.Requested.Scalar[name] && !p.ignores(name) {
			lacks(request, node.Allocatable.Scalar[name], node.Requested.Scalar[name], fmt.Sprintf("Insufficient %s", name))
		}
	}
	return reasons, unresolvable
}

// ignores reports an extended resource that something else looks after; a group is what stands before its slash.
func (p NodeResourcesFit) ignores(name corev1.ResourceName) bool {
	if len(p.ignored)+len(p.ignoredGroups) == 0 || !framework.IsExtendedResource(name) {
		return false
	}
	group, _, _ := strings.Cut(string(name), "/")
	return p.ignored.Has(string(name)) || p.ignoredGroups.Has(group)
}

// Score rates the node as it would be used with the pod, where containers without requests count with defaults.
func (p NodeResourcesFit) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	return p.strategy.score(c.Pod, node), nil
}

// EventsToRegister waits for pods to leave or shrink, for nodes that have room, and for the pod itself to shrink.
func (p NodeResourcesFit) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Delete|framework.UpdatePodScaleDown, nil),
		on(framework.TargetPod, framework.UpdatePodScaleDown, nil),
		on(framework.Node, framework.Add|framework.UpdateNodeAllocatable|framework.UpdateNodeTaint, func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			node, ok := change.New.(*corev1.Node)
			if !ok {
				return framework.Queue
			}
			empty := &framework.NodeInfo{}
			reasons, _ := p.insufficient(pod.Requests, empty.WithNode(node))
			return queueIf(len(reasons) == 0)
		}),
	}
}
