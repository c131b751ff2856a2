package plugins

import (
	"math"

	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// maxCustomScore is the highest score a configuration gives a utilization; nodes are scored up to ten times that.
const maxCustomScore = 10

// scoringStrategy is the weighted mean of what rate gives every resource.
type scoringStrategy struct {
	resources resourceWeights
	rate      func(used, capacity int64) int64
	// ratio leaves resources rated 0 out of the mean and rounds it, as RequestedToCapacityRatio does.
	ratio bool
}

func newScoringStrategy(s *schedv1.ScoringStrategy) scoringStrategy {
	if s == nil {
		s = &schedv1.ScoringStrategy{Type: schedv1.LeastAllocated}
	}
	strategy := scoringStrategy{resources: weigh(s.Resources), rate: leastAllocated}
	switch {
	case s.Type == schedv1.MostAllocated:
		strategy.rate = mostAllocated
	case s.Type == schedv1.RequestedToCapacityRatio && s.RequestedToCapacityRatio != nil:
		strategy.rate, strategy.ratio = byShape(s.RequestedToCapacityRatio.Shape), true
	}
	return strategy
}

func (s *scoringStrategy) score(pod *framework.PodInfo, node *framework.NodeInfo) int64 {
	var sum, weights int64
	for _, r := range s.resources {
		a := amountsOf(r.name, pod, node, true)
		if a.capacity == 0 {
			continue
		}
		rated := s.rate(a.used+a.wanted, a.capacity)
		if s.ratio && rated == 0 {
			continue
		}
		sum += rated * r.weight
		weights += r.weight
	}
	switch {
	case weights == 0:
		return 0
	case s.ratio:
		return int64(math.Round(float64(sum) / float64(weights)))
	default:
		return sum / weights
	}
}

// leastAllocated is the free share in percent.
func leastAllocated(used, capacity int64) int64 {
	if used > capacity {
		return 0
	}
	return (capacity - used) * framework.MaxNodeScore / capacity
}

// mostAllocated is the used share in percent. Pods that request nothing may use more than there is by their defaults.
func mostAllocated(used, capacity int64) int64 {
	return min(used, capacity) * framework.MaxNodeScore / capacity
}

// byShape draws straight lines between the points of a shape, which are in order, and is level outside of them.
func byShape(shape []schedv1.UtilizationShapePoint) func(used, capacity int64) int64 {
	const scale = framework.MaxNodeScore / maxCustomScore
	return func(used, capacity int64) int64 {
		utilization := int64(100)
		if used <= capacity {
			utilization = used * 100 / capacity
		}
		for i, point := range shape {
			to, score := int64(point.Utilization), int64(point.Score)*scale
			if utilization > to {
				continue
			}
			if i == 0 {
				return score
			}
			from, before := int64(shape[i-1].Utilization), int64(shape[i-1].Score)*scale
			return before + (score-before)*(utilization-from)/(to-from)
		}
		return int64(shape[len(shape)-1].Score) * scale
	}
}
