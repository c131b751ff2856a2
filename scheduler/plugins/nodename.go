package plugins

import (
	"context"

	"skiff/scheduler/framework"
)

// NodeName lets a pod that names a node onto that node alone.
type NodeName struct{ mismatch *framework.Status }

// NewNodeName makes the plugin.
func NewNodeName() NodeName {
	return NodeName{rejection("NodeName", framework.UnschedulableAndUnresolvable, "node(s) didn't match the requested node name")}
}

// Name implements framework.Plugin.
func (NodeName) Name() string { return "NodeName" }

// PreFilter skips pods that name no node.
func (NodeName) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	if c.Pod.Pod.Spec.NodeName == "" {
		return nil, framework.NewStatus(framework.Skip)
	}
	return nil, nil
}

// Filter compares the names.
func (p NodeName) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if want := c.Pod.Pod.Spec.NodeName; want != "" && want != node.Name() {
		return p.mismatch
	}
	return nil
}

// FilterIsLocal implements framework.LocalFilter.
func (NodeName) FilterIsLocal(*framework.PodInfo) bool { return true }

// EventsToRegister waits for nodes.
func (NodeName) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{on(framework.Node, framework.Add, nil)}
}
