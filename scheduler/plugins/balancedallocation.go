package plugins

import (
	"context"
	"math"

	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// BalancedAllocation prefers nodes whose resources the pod would bring nearer to being used to the same degree.
type BalancedAllocation struct{ resources resourceWeights }

// NewBalancedAllocation makes the plugin for the resources its arguments name; nil arguments mean CPU and memory.
func NewBalancedAllocation(args *schedv1.NodeResourcesBalancedAllocationArgs) BalancedAllocation {
	if args == nil {
		args = &schedv1.NodeResourcesBalancedAllocationArgs{}
	}
	return BalancedAllocation{weigh(args.Resources)}
}

// Name implements framework.Plugin.
func (BalancedAllocation) Name() string { return "NodeResourcesBalancedAllocation" }

// PreScore skips pods that request none of the resources.
func (p BalancedAllocation) PreScore(_ context.Context, c *framework.Cycle, _ []*framework.NodeInfo) *framework.Status {
	empty := &framework.NodeInfo{}
	for _, r := range p.resources {
		if amountsOf(r.name, c.Pod, empty, false).wanted != 0 {
			return nil
		}
	}
	return framework.NewStatus(framework.Skip)
}

// Score compares the balance of the node with the pod and without it: 75 when the pod changes nothing, up to 100 when it
// improves the balance, down to 50 when it spoils it.
func (p BalancedAllocation) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	var with, without deviation
	for _, r := range p.resources {
		if a := amountsOf(r.name, c.Pod, node, false); a.capacity != 0 {
			with.add(share(a.used+a.wanted, a.capacity))
			without.add(share(a.used, a.capacity))
		}
	}
	const half = framework.MaxNodeScore / 2
	return half + (half+with.score()-without.score())/2, nil
}

// deviation is the standard deviation of the shares added.
type deviation struct {
	shares [8]float64
	more   []float64
	n      int
}

func (d *deviation) add(share float64) {
	if d.n < len(d.shares) {
		d.shares[d.n] = share
	} else {
		d.more = append(d.more, share)
	}
	d.n++
}

func (d *deviation) at(i int) float64 {
	if i < len(d.shares) {
		return d.shares[i]
	}
	return d.more[i-len(d.shares)]
}

// score is 100 less the deviation; fewer than two shares don't deviate.
func (d *deviation) score() int64 {
	std := 0.0
	switch {
	case d.n == 2:
		std = math.Abs((d.shares[0] - d.shares[1]) / 2)
	case d.n > 2:
		var mean, sum float64
		for i := range d.n {
			mean += d.at(i) / float64(d.n)
		}
		for i := range d.n {
			sum += (d.at(i) - mean) * (d.at(i) - mean)
		}
		std = math.Sqrt(sum / float64(d.n))
	}
	return int64((1 - std) * float64(framework.MaxNodeScore))
}
