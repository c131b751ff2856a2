package plugins

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

const spreadScoreKey = "PodTopologySpread/score"

// spreadScore holds, per soft constraint, the matching pods of every domain a feasible node is in, and the weight that
// keeps constraints with few domains from being drowned by those with many.
type spreadScore struct {
	spreads []spread
	domains []map[string]int
	hosts   [][]int32 // matching pods of every node of the snapshot, of constraints over hosts
	weights []float64
	// strict nodes must carry all keys; the others are left out of the scoring.
	strict bool
}

// Clone implements framework.StateData; the counts are never changed after PreScore.
func (s *spreadScore) Clone() framework.StateData { return s }

// PreScore counts the matching pods of every domain.
func (p *PodTopologySpread) PreScore(ctx context.Context, c *framework.Cycle, nodes []*framework.NodeInfo) *framework.Status {
	pod := c.Pod.Pod
	spreads, err := p.spreadsOf(pod, corev1.ScheduleAnyway)
	if err != nil {
		return framework.AsStatus(err)
	}
	s := &spreadScore{spreads: spreads, strict: len(pod.Spec.TopologySpreadConstraints) > 0 || !p.defaults.system}
	if len(s.spreads) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	s.weigh(nodes)
	count := counter{
		snapshot: c.Snapshot, pod: pod, affinity: nodeaffinity.GetRequiredNodeAffinity(pod), log: klog.FromContext(ctx), strict: s.strict,
	}
	s.count(&count)
	c.Write(spreadScoreKey, s)
	return nil
}

// count counts the pods of the domains; a host's are all that match there, whatever the node is like.
func (s *spreadScore) count(c *counter) {
	s.hosts = make([][]int32, len(s.spreads))
	s.domains = make([]map[string]int, len(s.spreads))
	for i := range s.spreads {
		if s.spreads[i].key != corev1.LabelHostname {
			s.domains[i] = c.domainsOf(s.spreads, i)
			continue
		}
		s.hosts[i] = make([]int32, len(c.snapshot.Nodes()))
		for _, kind := range s.spreads[i].matching(c.snapshot, c.pod.Namespace) {
			for _, on := range kind.On {
				s.hosts[i][on.Node] += on.Pods
			}
		}
	}
}

// weigh sets the weights, by the number of domains of the nodes to score.
func (s *spreadScore) weigh(nodes []*framework.NodeInfo) {
	domains := make([]map[string]bool, len(s.spreads))
	for i := range domains {
		domains[i] = map[string]bool{}
	}
	scored := 0
	for _, node := range nodes {
		if s.strict && !hasAllKeys(node.Node, s.spreads) {
			continue
		}
		scored++
		for i := range s.spreads {
			if s.spreads[i].key != corev1.LabelHostname {
				domains[i][node.Node.Labels[s.spreads[i].key]] = true
			}
		}
	}
	s.weights = make([]float64, len(s.spreads))
	for i := range s.spreads {
		size := len(domains[i])
		if s.spreads[i].key == corev1.LabelHostname {
			size = scored
		}
		s.weights[i] = math.Log(float64(size + 2))
	}
}

// Score sums the matching pods of the node's domains, weighted; fewer is better.
func (p *PodTopologySpread) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	s := framework.State[*spreadScore](c, spreadScoreKey)
	if s.strict && !hasAllKeys(node.Node, s.spreads) {
		return 0, nil
	}
	var score float64
	for i := range s.spreads {
		value, ok := node.Node.Labels[s.spreads[i].key]
		if !ok {
			continue
		}
		count := s.domains[i][value]
		if s.spreads[i].key == corev1.LabelHostname {
			if at, ok := c.Snapshot.Position(node.Name()); ok {
				count = int(s.hosts[i][at])
			}
		}
		score += float64(count)*s.weights[i] + float64(s.spreads[i].maxSkew-1)
	}
	return int64(math.Round(score)), nil
}

// NormalizeScore gives the emptiest domains the most, and nodes left out of the scoring nothing.
func (p *PodTopologySpread) NormalizeScore(_ context.Context, c *framework.Cycle, scores []framework.NodeScore) *framework.Status {
	s := framework.State[*spreadScore](c, spreadScoreKey)
	lowest, highest := int64(math.MaxInt64), int64(0)
	for _, n := range scores {
		if !s.strict || hasAllKeys(n.Node.Node, s.spreads) {
			lowest, highest = min(lowest, n.Score), max(highest, n.Score)
		}
	}
	for i := range scores {
		switch {
		case s.strict && !hasAllKeys(scores[i].Node.Node, s.spreads):
			scores[i].Score = 0
		case highest == 0:
			scores[i].Score = framework.MaxNodeScore
		default:
			scores[i].Score = framework.MaxNodeScore * (highest + lowest - scores[i].Score) / highest
		}
	}
	return nil
}
