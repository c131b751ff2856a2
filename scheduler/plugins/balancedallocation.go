package plugins

import (
	"context"
	"math"

	"skiff/scheduler/framework"
)

// BalancedAllocation prefers nodes on which the pod brings the used shares of CPU and memory closer together.
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

// Score compares the balance with the pod and without it: 75 where it stays the same, up to 100 where it gets better, down
// to 50 where it gets worse.
func (BalancedAllocation) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	without := balance(node.Requested, node.Allocatable)
	with := balance(framework.Resource{
		MilliCPU: node.Requested.MilliCPU + c.Pod.Requests.MilliCPU, Memory: node.Requested.Memory + c.Pod.Requests.Memory,
	}, node.Allocatable)
	const half = framework.MaxNodeScore / 2
	return half + (half+with-without)/2, nil
}

// balance is 100 less the standard deviation of the two used shares; a resource that the node doesn't have is left out.
func balance(used, allocatable framework.Resource) int64 {
	if allocatable.MilliCPU == 0 || allocatable.Memory == 0 {
		return framework.MaxNodeScore
	}
	deviation := math.Abs((share(used.MilliCPU, allocatable.MilliCPU) - share(used.Memory, allocatable.Memory)) / 2)
	return int64((1 - deviation) * float64(framework.MaxNodeScore))
}

func share(used, capacity int64) float64 {
	return min(1, float64(used)/float64(capacity))
}
