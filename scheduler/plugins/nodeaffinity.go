package plugins

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// NodeAffinity serves nodeSelector and required and preferred node affinity, the pod's own and one that a profile adds to
// all its pods.
type NodeAffinity struct {
	mismatch, conflict, enforced *framework.Status
	addedRequired                *nodeaffinity.NodeSelector
	addedPreferred               *nodeaffinity.PreferredSchedulingTerms
}

// NewNodeAffinity makes the plugin; nil arguments add nothing. It fails when the added affinity can't be parsed.
func NewNodeAffinity(args *schedv1.NodeAffinityArgs) (NodeAffinity, error) {
	p := newNodeAffinity()
	if args == nil || args.AddedAffinity == nil {
		return p, nil
	}
	var err error
	if required := args.AddedAffinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		if p.addedRequired, err = nodeaffinity.NewNodeSelector(required); err != nil {
			return p, fmt.Errorf("parsing addedAffinity.requiredDuringSchedulingIgnoredDuringExecution: %w", err)
		}
	}
	if preferred := args.AddedAffinity.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) > 0 {
		if p.addedPreferred, err = nodeaffinity.NewPreferredSchedulingTerms(preferred); err != nil {
			return p, fmt.Errorf("parsing addedAffinity.preferredDuringSchedulingIgnoredDuringExecution: %w", err)
		}
	}
	return p, nil
}

func newNodeAffinity() NodeAffinity {
	const name = "NodeAffinity"
	return NodeAffinity{
		enforced: rejection(name, framework.UnschedulableAndUnresolvable, "node(s) didn't match scheduler-enforced node affinity"),
		mismatch: rejection(name, framework.UnschedulableAndUnresolvable, "node(s) didn't match Pod's node affinity/selector"),
		conflict: rejection(name, framework.UnschedulableAndUnresolvable, "pod affinity terms conflict"),
	}
}

// Name implements framework.Plugin.
func (NodeAffinity) Name() string { return "NodeAffinity" }

type requiredAffinity struct {
	nodeaffinity.RequiredNodeAffinity
}

// Clone implements framework.StateData; the affinity is never changed.
func (r requiredAffinity) Clone() framework.StateData { return r }

type preferredAffinity struct {
	*nodeaffinity.PreferredSchedulingTerms
}

// Clone implements framework.StateData; the terms are never changed.
func (p preferredAffinity) Clone() framework.StateData { return p }

const preferredKey = "NodeAffinity/preferred"

// PreFilter parses the terms once and narrows the nodes when every term names nodes by metadata.name.
func (p NodeAffinity) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	required := requiredTerms(c.Pod.Pod)
	if required == nil && p.addedRequired == nil && len(c.Pod.Pod.Spec.NodeSelector) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), requiredAffinity{nodeaffinity.GetRequiredNodeAffinity(c.Pod.Pod)})
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil, nil
	}
	names := sets.New[string]()
	for i := range required.NodeSelectorTerms {
		named := namedNodes(&required.NodeSelectorTerms[i])
		if named == nil {
			return nil, nil
		}
		names = names.Union(named)
	}
	if names.Len() == 0 {
		return nil, p.conflict
	}
	return &framework.PreFilterResult{NodeNames: names}, nil
}

func requiredTerms(pod *corev1.Pod) *corev1.NodeSelector {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// namedNodes answers the nodes a term names by metadata.name, nil when it doesn't name any.
func namedNodes(term *corev1.NodeSelectorTerm) sets.Set[string] {
	var names sets.Set[string]
	for _, r := range term.MatchFields {
		if r.Key != metav1.ObjectNameField || r.Operator != corev1.NodeSelectorOpIn {
			continue
		}
		if values := sets.New(r.Values...); names == nil {
			names = values
		} else {
			names = names.Intersection(values)
		}
	}
	return names
}

// Filter matches the added and the pod's required terms; one that can't be parsed matches nothing.
func (p NodeAffinity) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if p.addedRequired != nil && !p.addedRequired.Match(node.Node) {
		return p.enforced
	}
	if match, err := framework.State[requiredAffinity](c, p.Name()).Match(node.Node); err != nil || !match {
		return p.mismatch
	}
	return nil
}

// PreScore parses the preferred terms.
func (p NodeAffinity) PreScore(_ context.Context, c *framework.Cycle, _ []*framework.NodeInfo) *framework.Status {
	a := c.Pod.Pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		if p.addedPreferred == nil {
			return framework.NewStatus(framework.Skip)
		}
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return framework.AsStatus(err)
	}
	c.Write(preferredKey, preferredAffinity{terms})
	return nil
}

// Score sums the weights of the matching preferred terms.
func (p NodeAffinity) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	var sum int64
	if own := framework.State[preferredAffinity](c, preferredKey); own.PreferredSchedulingTerms != nil {
		sum = own.Score(node.Node)
	}
	if p.addedPreferred != nil {
		sum += p.addedPreferred.Score(node.Node)
	}
	return sum, nil
}

// NormalizeScore scales to the best node.
func (NodeAffinity) NormalizeScore(_ context.Context, _ *framework.Cycle, scores []framework.NodeScore) *framework.Status {
	framework.NormalizeByMax(scores, false)
	return nil
}

// FilterIsLocal implements framework.LocalFilter.
func (NodeAffinity) FilterIsLocal(*framework.PodInfo) bool { return true }

// EventsToRegister waits for nodes that match and didn't before.
func (p NodeAffinity) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.Node, framework.Add|framework.UpdateNodeLabel, func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			after, ok := change.New.(*corev1.Node)
			if !ok {
				return framework.Queue
			}
			if p.addedRequired != nil && !p.addedRequired.Match(after) {
				return framework.QueueSkip
			}
			required := nodeaffinity.GetRequiredNodeAffinity(pod.Pod)
			match, err := required.Match(after)
			before, existed := change.Old.(*corev1.Node)
			if err != nil || !match || !existed {
				return queueIf(err != nil || match)
			}
			matched, err := required.Match(before)
			return queueIf(err != nil || !matched)
		}),
	}
}
