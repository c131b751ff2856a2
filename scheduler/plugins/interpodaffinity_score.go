package plugins

import (
	"context"
	"math"
	"sync"

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
type affinityScores map[domain]int64

// Clone implements framework.StateData; the sums are never changed after PreScore.
func (s affinityScores) Clone() framework.StateData { return s }

func (s affinityScores) add(t *framework.AffinityTerm, pod *corev1.Pod, nsLabels labels.Set, node *corev1.Node, weight int64) {
	if value, ok := node.Labels[t.TopologyKey]; ok && t.Matches(pod, nsLabels) {
		s[domain{t.TopologyKey, value}] += weight
	}
}

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
	if p.ignoreOthers && !own {
		return framework.NewStatus(framework.Skip)
	}
	nodes := c.Snapshot.WithAffinity()
	if own {
		nodes = c.Snapshot.Nodes()
	}
	if len(nodes) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	terms, err := p.softTerms(c.Pod)
	if err != nil {
		return framework.AsStatus(err)
	}
	scores := affinityScores{}
	var mu sync.Mutex
	c.Parallel(len(nodes), func(from, to int) {
		local := affinityScores{}
		for _, node := range nodes[from:to] {
			existing := node.PodsWithAffinity
			if own {
				existing = node.Pods
			}
			for _, e := range existing {
				local.addPair(&terms, e, node.Node)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for d, v := range local {
			scores[d] += v
		}
	})
	if len(scores) == 0 {
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

func (s affinityScores) addPair(own *softTerms, existing *framework.PodInfo, node *corev1.Node) {
	for i := range own.affinity {
		s.add(&own.affinity[i].AffinityTerm, existing.Pod, nil, node, int64(own.affinity[i].Weight))
	}
	for i := range own.anti {
		s.add(&own.anti[i].AffinityTerm, existing.Pod, nil, node, -int64(own.anti[i].Weight))
	}
	if own.hardWeight > 0 {
		for i := range existing.RequiredAffinity {
			s.add(&existing.RequiredAffinity[i], own.pod, own.nsLabels, node, own.hardWeight)
		}
	}
	for i := range existing.PreferredAffinity {
		t := &existing.PreferredAffinity[i]
		s.add(&t.AffinityTerm, own.pod, own.nsLabels, node, int64(t.Weight))
	}
	for i := range existing.PreferredAntiAffinity {
		t := &existing.PreferredAntiAffinity[i]
		s.add(&t.AffinityTerm, own.pod, own.nsLabels, node, -int64(t.Weight))
	}
}

// Score sums over the node's domains.
func (p *InterPodAffinity) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	scores := framework.State[affinityScores](c, affinityScoreKey)
	var sum int64
	for key, value := range node.Node.Labels {
		sum += scores[domain{key, value}]
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
