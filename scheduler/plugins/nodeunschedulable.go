package plugins

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	schedhelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// NodeUnschedulable keeps pods off cordoned nodes, unless they tolerate the taint cordoning sets.
type NodeUnschedulable struct{ cordoned *framework.Status }

// NewNodeUnschedulable makes the plugin.
func NewNodeUnschedulable() NodeUnschedulable {
	return NodeUnschedulable{rejection("NodeUnschedulable", framework.UnschedulableAndUnresolvable, "node(s) were unschedulable")}
}

// Name implements framework.Plugin.
func (NodeUnschedulable) Name() string { return "NodeUnschedulable" }

// Filter looks at spec.unschedulable.
func (p NodeUnschedulable) Filter(ctx context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if !node.Node.Spec.Unschedulable || toleratesCordon(ctx, c.Pod.Pod) {
		return nil
	}
	return p.cordoned
}

func toleratesCordon(ctx context.Context, pod *corev1.Pod) bool {
	taint := &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	return schedhelpers.TolerationsTolerateTaint(klog.FromContext(ctx), pod.Spec.Tolerations, taint, true)
}

// EventsToRegister waits for nodes that aren't cordoned and for new tolerations.
func (NodeUnschedulable) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.Node, framework.Add|framework.UpdateNodeTaint, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			node, ok := change.New.(*corev1.Node)
			return queueIf(!ok || !node.Spec.Unschedulable)
		}),
		on(framework.TargetPod, framework.UpdatePodToleration, nil),
	}
}
