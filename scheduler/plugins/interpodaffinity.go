package plugins

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"skiff/scheduler/framework"
)

// InterPodAffinity places pods near to or away from other pods, required and preferred.
type InterPodAffinity struct {
	namespaces corelisters.NamespaceLister
	// hardWeight is what an existing pod's required affinity to the pod counts in scores.
	hardWeight int64
	// ignoreOthers leaves the preferences of existing pods aside for pods that have none themselves.
	ignoreOthers                   bool
	noAffinity, anti, existingAnti *framework.Status
}

// NewInterPodAffinity makes the plugin; nil arguments mean upstream's defaults.
func NewInterPodAffinity(d Deps, args *schedv1.InterPodAffinityArgs) *InterPodAffinity {
	const name = "InterPodAffinity"
	if args == nil {
		args = &schedv1.InterPodAffinityArgs{}
	}
	return &InterPodAffinity{
		hardWeight:   int64(ptr.Deref(args.HardPodAffinityWeight, defaultHardPodAffinityWeight)),
		ignoreOthers: args.IgnorePreferredTermsOfExistingPods,
		namespaces:   d.Informers.Core().V1().Namespaces().Lister(),
		noAffinity:   rejection(name, framework.UnschedulableAndUnresolvable, "node(s) didn't match pod affinity rules"),
		anti:         rejection(name, framework.Unschedulable, "node(s) didn't match pod anti-affinity rules"),
		existingAnti: rejection(name, framework.Unschedulable, "node(s) didn't satisfy existing pods anti-affinity rules"),
	}
}

// Name implements framework.Plugin.
func (*InterPodAffinity) Name() string { return "InterPodAffinity" }

// domainCounts counts pods (or weighs them) by domain, for the topology keys that matter.
type domainCounts []keyCounts

// keyCounts counts pods by domain of one topology key.
type keyCounts struct {
	key      string
	topology *framework.Topology
	pods     []int64 // by domain
}

// of answers the counts of a topology key, which are made if there are none yet.
func (d *domainCounts) of(snapshot *framework.Snapshot, key string) *keyCounts {
	for i := range *d {
		if (*d)[i].key == key {
			return &(*d)[i]
		}
	}
	topology := snapshot.Topology(key)
	*d = append(*d, keyCounts{key, topology, make([]int64, len(topology.Values))})
	return &(*d)[len(*d)-1]
}

// add adds n for the domain of the node at a position; nodes without the key are in none.
func (k *keyCounts) add(position int, n int64) {
	if at := k.topology.Of[position]; at >= 0 {
		k.pods[at] += n
	}
}

// addAll adds n for each of the pods.
func (k *keyCounts) addAll(pods []framework.PodsOn, n int64) {
	for _, on := range pods {
		k.add(int(on.Node), n*int64(on.Pods))
	}
}

// at answers the count of the domain of the node at a position, and whether it is in one.
func (k *keyCounts) at(position int) (int64, bool) {
	at := k.topology.Of[position]
	if at < 0 {
		return 0, false
	}
	return k.pods[at], true
}

// none reports that nothing is counted.
func (d domainCounts) none() bool {
	return !slices.ContainsFunc(d, func(k keyCounts) bool { return slices.ContainsFunc(k.pods, func(n int64) bool { return n != 0 }) })
}

// any reports whether something is counted for a domain of the node at a position.
func (d domainCounts) any(position int) bool {
	return slices.ContainsFunc(d, func(k keyCounts) bool {
		n, _ := k.at(position)
		return n > 0
	})
}

func (d domainCounts) clone() domainCounts {
	c := slices.Clone(d)
	for i := range c {
		c[i].pods = slices.Clone(c[i].pods)
	}
	return c
}

// affinityState counts, by domain: existing pods whose anti-affinity forbids the pod, and existing pods the pod's own
// affinity and anti-affinity terms match.
type affinityState struct {
	snapshot                           *framework.Snapshot
	nsLabels                           labels.Set
	affinityTerms, antiTerms           []framework.AffinityTerm
	existingAnti, affinity, antiCounts domainCounts
}

// Clone implements framework.StateData.
func (s *affinityState) Clone() framework.StateData {
	c := *s
	c.existingAnti, c.affinity, c.antiCounts = s.existingAnti.clone(), s.affinity.clone(), s.antiCounts.clone()
	return &c
}

// matchesAll reports whether the pod is one all the terms speak of.
func matchesAll(terms []framework.AffinityTerm, pod *corev1.Pod) bool {
	for i := range terms {
		if !terms[i].Matches(pod, nil) {
			return false
		}
	}
	return len(terms) > 0
}

// count adds n to the domains in which existing pods concern the pod being placed, for each of them. The existing ones
// are alike, one of them is given.
func (s *affinityState) count(pod *corev1.Pod, existing *framework.PodInfo, on []framework.PodsOn, n int64) {
	for i := range existing.RequiredAntiAffinity {
		if t := &existing.RequiredAntiAffinity[i]; t.Matches(pod, s.nsLabels) {
			s.existingAnti.of(s.snapshot, t.TopologyKey).addAll(on, n)
		}
	}
	if matchesAll(s.affinityTerms, existing.Pod) {
		for i := range s.affinityTerms {
			s.affinity.of(s.snapshot, s.affinityTerms[i].TopologyKey).addAll(on, n)
		}
	}
	for i := range s.antiTerms {
		if s.antiTerms[i].Matches(existing.Pod, nil) {
			s.antiCounts.of(s.snapshot, s.antiTerms[i].TopologyKey).addAll(on, n)
		}
	}
}

// PreFilter counts the pods that matter, by domain.
func (p *InterPodAffinity) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	own := len(c.Pod.RequiredAffinity)+len(c.Pod.RequiredAntiAffinity) > 0
	if !own && !c.Snapshot.HasRequiredAntiAffinity() {
		return nil, framework.NewStatus(framework.Skip)
	}
	s, err := p.newState(c.Pod)
	if err != nil {
		return nil, framework.AsStatus(err)
	}
	s.snapshot = c.Snapshot
	for i := range s.affinityTerms {
		s.affinity.of(s.snapshot, s.affinityTerms[i].TopologyKey) // there for Filter, which only reads
	}
	for kind := range c.Snapshot.Kinds() {
		s.count(c.Pod.Pod, kind.Pod, kind.On, 1)
	}
	if !own && s.existingAnti.none() {
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), s)
	return nil, nil
}

func (p *InterPodAffinity) newState(pod *framework.PodInfo) (*affinityState, error) {
	s := &affinityState{}
	var err error
	if s.nsLabels, err = p.namespaceLabels(pod.Pod.Namespace); err != nil {
		return nil, err
	}
	if s.affinityTerms, err = p.resolve(pod.RequiredAffinity); err != nil {
		return nil, err
	}
	s.antiTerms, err = p.resolve(pod.RequiredAntiAffinity)
	return s, err
}

// namespaceLabels: a namespace not seen yet has no labels.
func (p *InterPodAffinity) namespaceLabels(name string) (labels.Set, error) {
	ns, err := p.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting namespace %s: %w", name, err)
	}
	return ns.Labels, nil
}

// resolve turns the terms' namespace selectors into namespaces.
func (p *InterPodAffinity) resolve(terms []framework.AffinityTerm) ([]framework.AffinityTerm, error) {
	resolved := make([]framework.AffinityTerm, len(terms))
	for i := range terms {
		t, err := p.resolveOne(terms[i])
		if err != nil {
			return nil, err
		}
		resolved[i] = t
	}
	return resolved, nil
}

func (p *InterPodAffinity) resolveOne(t framework.AffinityTerm) (framework.AffinityTerm, error) {
	if _, selectable := t.NamespaceSelector.Requirements(); !selectable || t.NamespaceSelector.Empty() {
		return t, nil
	}
	namespaces, err := p.namespaces.List(t.NamespaceSelector)
	if err != nil {
		return t, fmt.Errorf("listing namespaces: %w", err)
	}
	t.Namespaces = t.Namespaces.Clone()
	for _, ns := range namespaces {
		t.Namespaces.Insert(ns.Name)
	}
	t.NamespaceSelector = labels.Nothing()
	return t, nil
}

// Filter checks the pod's affinity, its anti-affinity, and that of the pods that are there.
func (p *InterPodAffinity) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	s := framework.State[*affinityState](c, p.Name())
	at, _ := c.Snapshot.Position(node.Name())
	switch {
	case !s.affinitySatisfied(c.Pod.Pod, node.Node, at):
		return p.noAffinity
	case s.antiCounts.any(at):
		return p.anti
	case s.existingAnti.any(at):
		return p.existingAnti
	default:
		return nil
	}
}

// affinitySatisfied: the first pod of a group that is to stay together may go anywhere its terms' keys exist.
func (s *affinityState) affinitySatisfied(pod *corev1.Pod, node *corev1.Node, at int) bool {
	near := true
	for i := range s.affinityTerms {
		if _, ok := node.Labels[s.affinityTerms[i].TopologyKey]; !ok {
			return false
		}
	}
	for i := range s.affinityTerms {
		n, _ := s.affinity.of(s.snapshot, s.affinityTerms[i].TopologyKey).at(at)
		near = near && n > 0
	}
	return near || (s.affinity.none() && matchesAll(s.affinityTerms, pod))
}

// AddPod implements framework.PreFilterExtensions.
func (p *InterPodAffinity) AddPod(_ context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo) *framework.Status {
	p.shift(c, pod, node, 1)
	return nil
}

// RemovePod implements framework.PreFilterExtensions.
func (p *InterPodAffinity) RemovePod(_ context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo) *framework.Status {
	p.shift(c, pod, node, -1)
	return nil
}

func (p *InterPodAffinity) shift(c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo, by int64) {
	if at, ok := c.Snapshot.Position(node.Name()); ok {
		on := []framework.PodsOn{{Node: int32(at), Pods: 1}} //nolint:gosec // there are fewer nodes than that
		framework.State[*affinityState](c, p.Name()).count(c.Pod.Pod, pod, on, by)
	}
}
