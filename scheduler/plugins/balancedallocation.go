package plugins

import (
	"context"
	"math"

	"skiff/scheduler/framework"
)

// BalancedAllocation prefers nodes whose CPU and memory would be used to about the same degree.
type BalancedAllocation struct{}

// Name implements framework.Plugin.
func (BalancedAllocation) Name() string { return "NodeResourcesBalancedAllocation" }

// PreScore skips pods that request neither CPU nor memory.
func (BalancedAllocation) PreScore(_ context.Context, c *framework.Cycle, _ []*framework.NodeInfo) *framework.Status {
	if c.Pod.Requests.MilliCPU == 0 && c.Pod.Requests.Memory == 0 {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// Score is 100 less the standard deviation of the two used shares.
func (BalancedAllocation) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	if node.Allocatable.MilliCPU == 0 || node.Allocatable.Memory == 0 {
		return framework.MaxNodeScore, nil
	}
	cpu := share(node.Requested.MilliCPU+c.Pod.Requests.MilliCPU, node.Allocatable.MilliCPU)
	memory := share(node.Requested.Memory+c.Pod.Requests.Memory, node.Allocatable.Memory)
	deviation := math.Abs((cpu - memory) / 2)
	return int64((1 - deviation) * float64(framework.MaxNodeScore)), nil
}

func share(used, capacity int64) float64 {
	return min(1, float64(used)/float64(capacity))
}
