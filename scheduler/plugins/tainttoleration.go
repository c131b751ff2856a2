package plugins

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	schedhelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// TaintToleration keeps pods off nodes with NoSchedule or NoExecute taints they don't tolerate, and prefers nodes with
// fewer untolerated PreferNoSchedule taints.
type TaintToleration struct{ untolerated *framework.Status }

// NewTaintToleration makes the plugin.
func NewTaintToleration() TaintToleration {
	return TaintToleration{rejection("TaintToleration", framework.UnschedulableAndUnresolvable, "node(s) had untolerated taint(s)")}
}

// Name implements framework.Plugin.
func (TaintToleration) Name() string { return "TaintToleration" }

// Filter looks for an untolerated taint.
func (p TaintToleration) Filter(ctx context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if len(node.Node.Spec.Taints) == 0 || !untolerated(klog.FromContext(ctx), node.Node, c.Pod.Pod) {
		return nil
	}
	return p.untolerated
}

// untolerated reports whether a taint keeps the pod off the node.
func untolerated(log klog.Logger, node *corev1.Node, pod *corev1.Pod) bool {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect != corev1.TaintEffectNoSchedule && taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		if !tolerated(log, pod.Spec.Tolerations, taint) {
			return true
		}
	}
	return false
}

// tolerated reports whether one of the tolerations is for the taint. The operators Gt and Lt tolerate nothing: their gate,
// TaintTolerationComparisonOperators, is off in v1.37.
func tolerated(log klog.Logger, tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	return schedhelpers.TolerationsTolerateTaint(log, tolerations, taint, false)
}

// softTolerations are the pod's tolerations that speak of PreferNoSchedule.
type softTolerations []corev1.Toleration

// Clone implements framework.StateData; the list is never changed.
func (s softTolerations) Clone() framework.StateData { return s }

// PreScore keeps the soft tolerations; with no soft taint anywhere there is nothing to score.
func (p TaintToleration) PreScore(_ context.Context, c *framework.Cycle, nodes []*framework.NodeInfo) *framework.Status {
	if !anySoftTaint(nodes) {
		return framework.NewStatus(framework.Skip)
	}
	var soft softTolerations
	for _, t := range c.Pod.Pod.Spec.Tolerations {
		if t.Effect == "" || t.Effect == corev1.TaintEffectPreferNoSchedule {
			soft = append(soft, t)
		}
	}
	c.Write(p.Name(), soft)
	return nil
}

func anySoftTaint(nodes []*framework.NodeInfo) bool {
	for _, n := range nodes {
		for i := range n.Node.Spec.Taints {
			if n.Node.Spec.Taints[i].Effect == corev1.TaintEffectPreferNoSchedule {
				return true
			}
		}
	}
	return false
}

// Score counts the untolerated soft taints.
func (p TaintToleration) Score(ctx context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	soft := framework.State[softTolerations](c, p.Name())
	var count int64
	for i := range node.Node.Spec.Taints {
		taint := &node.Node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(klog.FromContext(ctx), soft, taint) {
			count++
		}
	}
	return count, nil
}

// NormalizeScore gives the most to the fewest taints.
func (TaintToleration) NormalizeScore(_ context.Context, _ *framework.Cycle, scores []framework.NodeScore) *framework.Status {
	framework.NormalizeByMax(scores, true)
	return nil
}

// FilterIsLocal implements framework.LocalFilter.
func (TaintToleration) FilterIsLocal(*framework.PodInfo) bool { return true }

// EventsToRegister waits for nodes whose taints the pod tolerates, and didn't before, and for new tolerations.
func (TaintToleration) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.Node, framework.Add|framework.UpdateNodeTaint, func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			after, ok := change.New.(*corev1.Node)
			before, existed := change.Old.(*corev1.Node)
			log := klog.Background()
			return queueIf(!ok || (!untolerated(log, after, pod.Pod) && (!existed || untolerated(log, before, pod.Pod))))
		}),
		on(framework.TargetPod, framework.UpdatePodToleration, nil),
	}
}
