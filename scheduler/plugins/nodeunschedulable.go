package plugins

import (
	"context"

	corev1 "k8s.io/api/core/v1"
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
	if !node.Node.Spec.Unschedulable || toleratesCordon(klog.FromContext(ctx), c.Pod.Pod) {
		return nil
	}
	return p.cordoned
}

func toleratesCordon(log klog.Logger, pod *corev1.Pod) bool {
	return tolerated(log, pod.Spec.Tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
}

// FilterIsLocal implements framework.LocalFilter.
func (NodeUnschedulable) FilterIsLocal(*framework.PodInfo) bool { return true }

// EventsToRegister waits for nodes that come or are no longer cordoned, and for the pod to tolerate the cordon.
func (NodeUnschedulable) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.Node, framework.Add|framework.UpdateNodeTaint, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			after, ok := change.New.(*corev1.Node)
			before, existed := change.Old.(*corev1.Node)
			return queueIf(!ok || (!after.Spec.Unschedulable && (!existed || before.Spec.Unschedulable)))
		}),
		on(framework.TargetPod, framework.UpdatePodToleration, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			after, ok := change.New.(*framework.PodInfo)
			return queueIf(!ok || toleratesCordon(klog.Background(), after.Pod))
		}),
	}
}
