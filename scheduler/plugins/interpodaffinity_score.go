package plugins

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/scheduler/framework"
)

const (
	affinityScoreKey = "InterPodAffinity/score"
	// defaultHardPodAffinityWeight is upstream's.
	defaultHardPodAffinityWeight = 1
)

// affinityScores sums weights by domain.
type affinityScores struct{ domainCounts }

// Clone implements framework.StateData; the sums are never changed after PreScore.
func (s affinityScores) Clone() framework.StateData { return s }

// softTerms are the preferences of the pod being placed.
type softTerms struct {
	pod            *corev1.Pod
	nsLabels       labels.Set
	affinity, anti []framework.WeightedAffinityTerm
	hardWeight     int64
}

// PreScore sums the preferences of the pod for its neighbours, and of the neighbours for the pod, by domain.
func (p *InterPodAffinity) PreScore(_ context.Context, c *framework.Cycle, _ []*framework.NodeInfo) *framework.Status {
	own := len(c.Pod.PreferredAffinity)+len(c.Pod.PreferredAntiAffinity) > 0
	if !own && (p.ignoreOthers || !c.Snapshot.HasAffinity()) || len(c.Snapshot.Nodes()) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	terms, err := p.softTerms(c.Pod)
	if err != nil {
		return framework.AsStatus(err)
	}
	var scores affinityScores
	for kind := range c.Snapshot.Kinds() {
		terms.weigh(kind.Pod, func(key string, weight int64) {
			scores.of(c.Snapshot, key).addAll(kind.On, weight)
		})
	}
	if scores.none() {
		return framework.NewStatus(framework.Skip)
	}
	c.Write(affinityScoreKey, scores)
	return nil
}

func (p *InterPodAffinity) softTerms(pod *framework.PodInfo) (softTerms, error) {
	t := softTerms{pod: pod.Pod, hardWeight: p.hardWeight}
	var err error
	if t.nsLabels, err = p.namespaceLabels(pod.Pod.Namespace); err != nil {
		return t, err
	}
	if t.affinity, err = p.resolveWeighted(pod.PreferredAffinity); err != nil {
		return t, err
	}
	t.anti, err = p.resolveWeighted(pod.PreferredAntiAffinity)
	return t, err
}

func (p *InterPodAffinity) resolveWeighted(terms []framework.WeightedAffinityTerm) ([]framework.WeightedAffinityTerm, error) {
	resolved := make([]framework.WeightedAffinityTerm, len(terms))
	for i := range terms {
		t, err := p.resolveOne(terms[i].AffinityTerm)
		if err != nil {
			return nil, err
		}
		resolved[i] = framework.WeightedAffinityTerm{AffinityTerm: t, Weight: terms[i].Weight}
	}
	return resolved, nil
}

// weigh answers how much the pod and an existing one like to be in the same domain of which keys.
func (own *softTerms) weigh(existing *framework.PodInfo, like func(key string, weight int64)) {
	likes := func(t *framework.AffinityTerm, pod *corev1.Pod, nsLabels labels.Set, weight int64) {
		if t.Matches(pod, nsLabels) {
			like(t.TopologyKey, weight)
		}
	}
	for i := range own.affinity {
		likes(&own.affinity[i].AffinityTerm, existing.Pod, nil, int64(own.affinity[i].Weight))
	}
	for i := range own.anti {
		likes(&own.anti[i].AffinityTerm, existing.Pod, nil, -int64(own.anti[i].Weight))
	}
	if own.hardWeight > 0 {
		for i := range existing.RequiredAffinity {
			likes(&existing.RequiredAffinity[i], own.pod, own.nsLabels, own.hardWeight)
		}
	}
	for i := range existing.PreferredAffinity {
		t := &existing.PreferredAffinity[i]
		likes(&t.AffinityTerm, own.pod, own.nsLabels, int64(t.Weight))
	}
	for i := range existing.PreferredAntiAffinity {
		t := &existing.PreferredAntiAffinity[i]
		likes(&t.AffinityTerm, own.pod, own.nsLabels, -int64(t.Weight))
	}
}

// Score sums over the node's domains.
func (p *InterPodAffinity) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	at, _ := c.Snapshot.Position(node.Name())
	var sum int64
	for _, k := range framework.State[affinityScores](c, affinityScoreKey).domainCounts {
		weight, _ := k.at(at)
		sum += weight
	}
	return sum, nil
}

// NormalizeScore spreads the sums, which may be negative, over 0..100.
func (p *InterPodAffinity) NormalizeScore(_ context.Context, _ *framework.Cycle, scores []framework.NodeScore) *framework.Status {
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range scores {
		lowest, highest = min(lowest, s.Score), max(highest, s.Score)
	}
	for i := range scores {
		if highest == lowest {
			scores[i].Score = 0
			continue
		}
		scores[i].Score = int64(float64(framework.MaxNodeScore) * (float64(scores[i].Score-lowest) / float64(highest-lowest)))
	}
	return nil
}
