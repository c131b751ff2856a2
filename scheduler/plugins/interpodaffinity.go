package plugins

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"

	"skiff/scheduler/framework"
)

// InterPodAffinity places pods near to or away from other pods, required and preferred.
type InterPodAffinity struct {
	namespaces                     corelisters.NamespaceLister
	noAffinity, anti, existingAnti *framework.Status
}

// NewInterPodAffinity makes the plugin.
func NewInterPodAffinity(d Deps) *InterPodAffinity {
	const name = "InterPodAffinity"
	return &InterPodAffinity{
		namespaces:   d.Informers.Core().V1().Namespaces().Lister(),
		noAffinity:   rejection(name, framework.UnschedulableAndUnresolvable, "node(s) didn't match pod affinity rules"),
		anti:         rejection(name, framework.Unschedulable, "node(s) didn't match pod anti-affinity rules"),
		existingAnti: rejection(name, framework.Unschedulable, "node(s) didn't satisfy existing pods anti-affinity rules"),
	}
}

// Name implements framework.Plugin.
func (*InterPodAffinity) Name() string { return "InterPodAffinity" }

// domain is a topology key with a value.
type domain struct{ key, value string }

// domainCounts counts pods by domain; domains without any are absent.
type domainCounts map[domain]int

func (d domainCounts) add(node *corev1.Node, key string, n int) {
	value, ok := node.Labels[key]
	if !ok {
		return
	}
	at := domain{key, value}
	if d[at] += n; d[at] == 0 {
		delete(d, at)
	}
}

// affinityState counts, by domain: existing pods whose anti-affinity forbids the pod, and existing pods the pod's own
// affinity and anti-affinity terms match.
type affinityState struct {
	nsLabels                           labels.Set
	affinityTerms, antiTerms           []framework.AffinityTerm
	existingAnti, affinity, antiCounts domainCounts
}

// Clone implements framework.StateData.
func (s *affinityState) Clone() framework.StateData {
	c := *s
	c.existingAnti, c.affinity, c.antiCounts = maps.Clone(s.existingAnti), maps.Clone(s.affinity), maps.Clone(s.antiCounts)
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

// count adds n to the domains in which an existing pod on the node concerns the pod being placed.
func (s *affinityState) count(pod *corev1.Pod, existing *framework.PodInfo, node *corev1.Node, n int) {
	for i := range existing.RequiredAntiAffinity {
		if t := &existing.RequiredAntiAffinity[i]; t.Matches(pod, s.nsLabels) {
			s.existingAnti.add(node, t.TopologyKey, n)
		}
	}
	s.countOwn(existing.Pod, node, n)
}

func (s *affinityState) countOwn(existing *corev1.Pod, node *corev1.Node, n int) {
	if matchesAll(s.affinityTerms, existing) {
		for i := range s.affinityTerms {
			s.affinity.add(node, s.affinityTerms[i].TopologyKey, n)
		}
	}
	for i := range s.antiTerms {
		if s.antiTerms[i].Matches(existing, nil) {
			s.antiCounts.add(node, s.antiTerms[i].TopologyKey, n)
		}
	}
}

// PreFilter counts the pods that matter, by domain.
func (p *InterPodAffinity) PreFilter(_ context.Context, c *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	own := len(c.Pod.RequiredAffinity)+len(c.Pod.RequiredAntiAffinity) > 0
	if !own && len(c.Snapshot.WithRequiredAntiAffinity()) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	s, err := p.newState(c.Pod)
	if err != nil {
		return nil, framework.AsStatus(err)
	}
	for kind := range c.Snapshot.Kinds() {
		s.countKind(c.Pod.Pod, kind, c.Snapshot.Nodes())
	}
	if !own && len(s.existingAnti) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	c.Write(p.Name(), s)
	return nil, nil
}

// countKind is count for all existing pods of a kind.
func (s *affinityState) countKind(pod *corev1.Pod, kind *framework.PodKind, nodes []*framework.NodeInfo) {
	count := func(counts domainCounts, key string) {
		for _, on := range kind.On {
			counts.add(nodes[on.Node].Node, key, int(on.Pods))
		}
	}
	for i := range kind.Pod.RequiredAntiAffinity {
		if t := &kind.Pod.RequiredAntiAffinity[i]; t.Matches(pod, s.nsLabels) {
			count(s.existingAnti, t.TopologyKey)
		}
	}
	if matchesAll(s.affinityTerms, kind.Pod.Pod) {
		for i := range s.affinityTerms {
			count(s.affinity, s.affinityTerms[i].TopologyKey)
		}
	}
	for i := range s.antiTerms {
		if s.antiTerms[i].Matches(kind.Pod.Pod, nil) {
			count(s.antiCounts, s.antiTerms[i].TopologyKey)
		}
	}
}

func (p *InterPodAffinity) newState(pod *framework.PodInfo) (*affinityState, error) {
	s := &affinityState{existingAnti: domainCounts{}, affinity: domainCounts{}, antiCounts: domainCounts{}}
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
	if !s.affinitySatisfied(c.Pod.Pod, node.Node) {
		return p.noAffinity
	}
	for i := range s.antiTerms {
		key := s.antiTerms[i].TopologyKey
		if value, ok := node.Node.Labels[key]; ok && s.antiCounts[domain{key, value}] > 0 {
			return p.anti
		}
	}
	if len(s.existingAnti) > 0 {
		for key, value := range node.Node.Labels {
			if s.existingAnti[domain{key, value}] > 0 {
				return p.existingAnti
			}
		}
	}
	return nil
}

// affinitySatisfied: the first pod of a group that is to stay together may go anywhere its terms' keys exist.
func (s *affinityState) affinitySatisfied(pod *corev1.Pod, node *corev1.Node) bool {
	near := true
	for i := range s.affinityTerms {
		value, ok := node.Labels[s.affinityTerms[i].TopologyKey]
		if !ok {
			return false
		}
		near = near && s.affinity[domain{s.affinityTerms[i].TopologyKey, value}] > 0
	}
	return near || (len(s.affinity) == 0 && matchesAll(s.affinityTerms, pod))
}

// AddPod implements framework.PreFilterExtensions.
func (p *InterPodAffinity) AddPod(_ context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo) *framework.Status {
	framework.State[*affinityState](c, p.Name()).count(c.Pod.Pod, pod, node.Node, 1)
	return nil
}

// RemovePod implements framework.PreFilterExtensions.
func (p *InterPodAffinity) RemovePod(_ context.Context, c *framework.Cycle, pod *framework.PodInfo, node *framework.NodeInfo) *framework.Status {
	framework.State[*affinityState](c, p.Name()).count(c.Pod.Pod, pod, node.Node, -1)
	return nil
}

// EventsToRegister waits for pods the terms (or whose terms) concern, and for nodes.
func (p *InterPodAffinity) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Add|framework.Delete|framework.UpdatePodLabel, p.podHint),
		on(framework.TargetPod, framework.UpdatePodLabel, nil),
		on(framework.Node, framework.Add|framework.UpdateNodeLabel|framework.UpdateNodeTaint, nil),
	}
}

// podHint: a pod that comes can satisfy affinity, one that goes can end a conflict of anti-affinity.
func (p *InterPodAffinity) podHint(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	s, err := p.newState(pod)
	if err != nil {
		return framework.Queue
	}
	if came, ok := change.New.(*corev1.Pod); ok {
		return queueIf(matchesAll(s.affinityTerms, came) || change.Event.Action&framework.UpdatePodLabel != 0)
	}
	gone, ok := change.Old.(*corev1.Pod)
	if !ok {
		return framework.Queue
	}
	for i := range s.antiTerms {
		if s.antiTerms[i].Matches(gone, nil) {
			return framework.Queue
		}
	}
	info, err := framework.NewPodInfo(gone)
	if err != nil {
		return framework.Queue
	}
	for i := range info.RequiredAntiAffinity {
		if info.RequiredAntiAffinity[i].Matches(pod.Pod, s.nsLabels) {
			return framework.Queue
		}
	}
	return framework.QueueSkip
}
