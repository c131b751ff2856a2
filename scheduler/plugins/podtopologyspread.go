package plugins

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// PodTopologySpread spreads matching pods over domains of nodes. Pods without constraints that belong to a service or
// controller get defaults: upstream's soft ones over hosts and zones, or those of the plugin's arguments.
type PodTopologySpread struct {
	defaults        defaultSpread
	skewed, keyless *framework.Status
}

// NewPodTopologySpread makes the plugin; nil arguments mean upstream's soft defaults.
func NewPodTopologySpread(d Deps, args *schedv1.PodTopologySpreadArgs) *PodTopologySpread {
	const name = "PodTopologySpread"
	const reason = "node(s) didn't match pod topology spread constraints"
	return &PodTopologySpread{
		defaults: newDefaultSpread(d.Informers, args),
		skewed:   rejection(name, framework.Unschedulable, reason),
		keyless:  rejection(name, framework.UnschedulableAndUnresolvable, reason+" (missing required label)"),
	}
}

// Name implements framework.Plugin.
func (*PodTopologySpread) Name() string { return "PodTopologySpread" }

// spread is one parsed constraint.
type spread struct {
	maxSkew, minDomains       int
	key                       string
	selector                  labels.Selector
	honorAffinity, honorTaint bool
}

// spreadsOf answers the constraints of one kind of action: the pod's own, or the defaults if it has none.
func (p *PodTopologySpread) spreadsOf(pod *corev1.Pod, action corev1.UnsatisfiableConstraintAction) ([]spread, error) {
	if len(pod.Spec.TopologySpreadConstraints) > 0 {
		return parseSpreads(pod, pod.Spec.TopologySpreadConstraints, action)
	}
	return p.defaults.spreads(pod, action)
}

// parseSpreads parses the constraints of one kind of action.
func parseSpreads(pod *corev1.Pod, constraints []corev1.TopologySpreadConstraint, action corev1.UnsatisfiableConstraintAction) ([]spread, error) {
	var spreads []spread
	for i := range constraints {
		c := &constraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		selector, err := spreadSelector(pod, c)
		if err != nil {
			return nil, fmt.Errorf("parsing a topology spread constraint: %w", err)
		}
		s := spread{maxSkew: int(c.MaxSkew), minDomains: 1, key: c.TopologyKey, selector: selector, honorAffinity: true}
		if c.MinDomains != nil {
			s.minDomains = int(*c.MinDomains)
		}
		if c.NodeAffinityPolicy != nil {
			s.honorAffinity = *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
		}
		if c.NodeTaintsPolicy != nil {
			s.honorTaint = *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		}
		spreads = append(spreads, s)
	}
	return spreads, nil
}

// counts reports whether the node's pods are counted for the constraint.
func (s *spread) counts(log klog.Logger, pod *corev1.Pod, affinity nodeaffinity.RequiredNodeAffinity, node *corev1.Node) bool {
	if s.honorAffinity {
		if match, err := affinity.Match(node); err != nil || !match {
			return false
		}
	}
	return !s.honorTaint || !untolerated(log, node, pod)
}

// matching answers the kinds of live pods of the namespace that the selector picks; a selector of everything picks none.
func (s *spread) matching(snapshot *framework.Snapshot, namespace string) []*framework.PodKind {
	if s.selector.Empty() {
		return nil
	}
	var picked []*framework.PodKind
	for kind := range snapshot.Kinds() {
		if pod := kind.Pod.Pod; pod.Namespace == namespace && !kind.Leaving() && s.selector.Matches(labels.Set(pod.Labels)) {
			picked = append(picked, kind)
		}
	}
	return picked
}

func hasAllKeys(node *corev1.Node, spreads []spread) bool {
	for i := range spreads {
		if _, ok := node.Labels[spreads[i].key]; !ok {
			return false
		}
	}
	return true
}

// spreadState holds, per constraint, the matching pods of every domain and the lowest of these numbers.
type spreadState struct {
	spreads  []spread
	affinity nodeaffinity.RequiredNodeAffinity
	domains  []map[string]int
	lowest   []int
}

// Clone implements framework.StateData.
func (s *spreadState) Clone() framework.StateData {
	c := *s
	c.lowest = slices.Clone(s.lowest)
	c.domains = make([]map[string]int, len(s.domains))
	for i, d := range s.domains {
		c.domains[i] = maps.Clone(d)
	}
	return &c
}

// settle finds the lowest number of a constraint; with fewer domains than asked for, the missing ones count as empty.
func (s *spreadState) settle(i int) {
	s.lowest[i] = 0
	if len(s.domains[i]) < s.spreads[i].minDomains {
		return
	}
	lowest := math.MaxInt32
	for _, n := range s.domains[i] {
		lowest = min(lowest, n)
	}
	s.lowest[i] = lowest
}

// PreFilter counts the matching pods of every domain.
func (p *PodTopologySpread) PreFilter(ctx context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	pod := c.Pod.Pod
	spreads, err := p.spreadsOf(pod, corev1.DoNotSchedule)
	if err != nil {
		return nil, framework.AsStatus(err)
	}
	if len(spreads) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	s := &spreadState{spreads: spreads, affinity: nodeaffinity.GetRequiredNodeAffinity(pod), lowest: make([]int, len(spreads))}
	count := counter{snapshot: c.Snapshot, pod: pod, affinity: s.affinity, log: klog.FromContext(ctx), strict: true}
	for i := range spreads {
		s.domains = append(s.domains, count.domainsOf(spreads, i))
		s.settle(i)
	}
	c.Write(p.Name(), s)
	return nil, nil
}

// counter counts the pods that a pod's constraints are about.
type counter struct {
	snapshot *framework.Snapshot
	pod      *corev1.Pod
	affinity nodeaffinity.RequiredNodeAffinity
	log      klog.Logger
	// strict leaves out nodes that lack the key of any constraint.
	strict bool
}

// domainsOf sums the matching pods of the nodes that count for the i-th constraint, by domain. A domain without such a
// node is absent.
func (c *counter) domainsOf(spreads []spread, i int) map[string]int {
	topology := c.snapshot.Topology(spreads[i].key)
	in := topology.Of // the domain of every node that counts
	if !c.all(spreads, i) {
		in = c.counting(spreads, i, topology)
	}
	return sum(topology, in, spreads[i].matching(c.snapshot, c.pod.Namespace))
}

// all reports that every node with the key counts for the i-th constraint.
func (c *counter) all(spreads []spread, i int) bool {
	s, spec := &spreads[i], &c.pod.Spec
	if s.honorTaint || (c.strict && len(spreads) > 1) {
		return false
	}
	return !s.honorAffinity || (len(spec.NodeSelector) == 0 && requiredTerms(c.pod) == nil)
}

// counting answers the domain of every node that counts for the i-th constraint, -1 for the others.
func (c *counter) counting(spreads []spread, i int, topology *framework.Topology) []int32 {
	in := make([]int32, len(topology.Of))
	for n, node := range c.snapshot.Nodes() {
		in[n] = -1
		if topology.Of[n] >= 0 && (!c.strict || hasAllKeys(node.Node, spreads)) && spreads[i].counts(c.log, c.pod, c.affinity, node.Node) {
			in[n] = topology.Of[n]
		}
	}
	return in
}

// sum adds up the pods by domain, where in says which domain of the topology a node counts for, if any.
func sum(topology *framework.Topology, in []int32, kinds []*framework.PodKind) map[string]int {
	pods, seen := make([]int, len(topology.Values)), make([]bool, len(topology.Values))
	for _, at := range in {
		if at >= 0 {
			seen[at] = true
		}
	}
	for _, kind := range kinds {
		for _, on := range kind.On {
			if at := in[on.Node]; at >= 0 {
				pods[at] += int(on.Pods)
			}
		}
	}
	domains := make(map[string]int, len(pods))
	for at, value := range topology.Values {
		if seen[at] {
			domains[value] = pods[at]
		}
	}
	return domains
}

// Filter rejects a node whose domain would get too far ahead of the emptiest one.
func (p *PodTopologySpread) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	s := framework.State[*spreadState](c, p.Name())
	for i := range s.spreads {
		value, ok := node.Node.Labels[s.spreads[i].key]
		if !ok {
			return p.keyless
		}
		own := 0
		if s.spreads[i].selector.Matches(labels.Set(c.Pod.Pod.Labels)) {
			own = 1
		}
		if s.domains[i][value]+own-s.lowest[i] > s.spreads[i].maxSkew {
			return p.skewed
		}
	}
	return nil
}

// AddPod implements framework.PreFilterExtensions.
func (p *PodTopologySpread) AddPod(ctx context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo) *framework.Status {
	p.shift(ctx, c, pod, node, 1)
	return nil
}

// RemovePod implements framework.PreFilterExtensions.
func (p *PodTopologySpread) RemovePod(ctx context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo) *framework.Status {
	p.shift(ctx, c, pod, node, -1)
	return nil
}

func (p *PodTopologySpread) shift(ctx context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo, by int) {
	s := framework.State[*spreadState](c, p.Name())
	if s == nil || pod.Pod.Namespace != c.Pod.Pod.Namespace || !hasAllKeys(node.Node, s.spreads) {
		return
	}
	for i := range s.spreads {
		if s.spreads[i].selector.Matches(labels.Set(pod.Pod.Labels)) &&
			s.spreads[i].counts(klog.FromContext(ctx), c.Pod.Pod, s.affinity, node.Node) {
			s.domains[i][node.Node.Labels[s.spreads[i].key]] += by
			s.settle(i)
		}
	}
}
