package plugins

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// NodePorts keeps pods off nodes where a host port they claim is taken.
type NodePorts struct{ taken *framework.Status }

// NewNodePorts makes the plugin.
func NewNodePorts() NodePorts {
	return NodePorts{rejection("NodePorts", framework.Unschedulable, "node(s) didn't have free ports for the requested pod ports")}
}

// Name implements framework.Plugin.
func (NodePorts) Name() string { return "NodePorts" }

// PreFilter skips pods without host ports.
func (NodePorts) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	if len(c.Pod.Ports) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	return nil, nil
}

// Filter compares the claimed ports with the taken ones.
func (p NodePorts) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if portsConflict(c.Pod.Ports, node.Ports) {
		return p.taken
	}
	return nil
}

func portsConflict(want, taken []framework.HostPort) bool {
	for _, w := range want {
		for _, t := range taken {
			if w.Conflicts(t) {
				return true
			}
		}
	}
	return false
}

// FilterIsLocal implements framework.LocalFilter.
func (NodePorts) FilterIsLocal(*framework.PodInfo) bool { return true }

// EventsToRegister waits for pods that held such a port to go, and for nodes.
func (NodePorts) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Delete, func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			gone, ok := change.Old.(*corev1.Pod)
			if !ok {
				return framework.Queue
			}
			if gone.Spec.NodeName == "" && gone.Status.NominatedNodeName == "" {
				return framework.QueueSkip
			}
			info, err := framework.NewPodInfo(gone)
			return queueIf(err != nil || portsConflict(pod.Ports, info.Ports))
		}),
		on(framework.Node, framework.Add, nil),
	}
}
