package plugins

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	componentversion "k8s.io/component-base/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// NodeDeclaredFeatures keeps pods off nodes that don't declare, in status.declaredFeatures, what the pods need of them
// (KEP-5328).
type NodeDeclaredFeatures struct {
	target *version.Version
	lacks  *framework.Status
}

// requiredFeatures is what PreFilter finds a pod to need.
type requiredFeatures struct {
	set nodedeclaredfeatures.FeatureSet
}

// Clone implements framework.StateData; it is never changed.
func (r *requiredFeatures) Clone() framework.StateData { return r }

// NewNodeDeclaredFeatures makes the plugin.
func NewNodeDeclaredFeatures() *NodeDeclaredFeatures {
	p := &NodeDeclaredFeatures{target: version.MustParse(componentversion.Get().GitVersion)}
	p.lacks = rejection(p.Name(), framework.UnschedulableAndUnresolvable, "node(s) didn't match Pod's required features")
	return p
}

// Name implements framework.Plugin.
func (*NodeDeclaredFeatures) Name() string { return "NodeDeclaredFeatures" }

func (p *NodeDeclaredFeatures) required(pod *corev1.Pod) (nodedeclaredfeatures.FeatureSet, error) {
	return nodedeclaredfeatures.DefaultFramework.InferForPodScheduling(&nodedeclaredfeatures.PodInfo{Spec: &pod.Spec}, p.target)
}

// PreFilter finds out what the pod needs, which is nothing for most.
func (p *NodeDeclaredFeatures) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	set, err := p.required(c.Pod.Pod)
	switch {
	case err != nil:
		return nil, framework.AsStatus(err)
	case set.IsEmpty():
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), &requiredFeatures{set})
	return nil, nil
}

// Filter compares it with what the node declares.
func (p *NodeDeclaredFeatures) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	needed := framework.State[*requiredFeatures](c, p.Name())
	if needed == nil {
		return nil
	}
	has, err := needed.set.IsSubset(nodedeclaredfeatures.DefaultFramework.TryMap(node.Node.Status.DeclaredFeatures))
	switch {
	case err != nil:
		return framework.AsStatus(err)
	case !has:
		return p.lacks
	}
	return nil
}

// EventsToRegister waits for nodes that come or declare other features, and for the pod to need others.
func (p *NodeDeclaredFeatures) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.Node, framework.Add|framework.UpdateNodeDeclaredFeature, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			after, ok := change.New.(*corev1.Node)
			before, existed := change.Old.(*corev1.Node)
			return queueIf(!ok || !existed || !slices.Equal(before.Status.DeclaredFeatures, after.Status.DeclaredFeatures))
		}),
		on(framework.TargetPod, framework.Update, func(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
			before, ok := change.Old.(*framework.PodInfo)
			after, ok2 := change.New.(*framework.PodInfo)
			if !ok || !ok2 {
				return framework.Queue
			}
			needed, err := p.required(before.Pod)
			now, err2 := p.required(after.Pod)
			if err != nil || err2 != nil {
				klog.Background().Error(nil, "reading what a pod needs of its node", "pod", klog.KObj(after.Pod), "before", err, "after", err2)
				return framework.Queue
			}
			return queueIf(!now.Equal(needed))
		}),
	}
}
