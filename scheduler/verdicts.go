package scheduler

import (
	"skiff/scheduler/framework"
)

// rememberedSpecs is how many kinds of unfit pods are remembered: those of the workloads that wait at a time.
const rememberedSpecs = 8

// verdicts is what local filters said of all nodes for pods that fit on none of them. Nodes are never changed but
// replaced, so that a verdict holds for every pod of the same demands while its node is the same. A thousand pods that
// wait for room cost no more than the nodes that changed since the one before.
type verdicts struct {
	profile  *profile
	demands  string
	nodes    []*framework.NodeInfo
	statuses []*framework.Status
}

// of answers what was said of the node at a position; nil if that isn't known any more.
func (v *verdicts) of(position int, node *framework.NodeInfo) *framework.Status {
	if v == nil || position >= len(v.nodes) || v.nodes[position] != node {
		return nil
	}
	return v.statuses[position]
}

// memory holds the verdicts for the pods that were unfit last. The loop's own.
type memory struct {
	all  []*verdicts
	next int // which is replaced next
}

// find answers the verdicts for pods of the same demands, nil if there are none.
func (m *memory) find(a *attempt) *verdicts {
	if len(m.all) == 0 || !a.profile.FiltersLocally(a.cycle) {
		return nil
	}
	demands := a.queued.Info.Demands()
	for _, v := range m.all {
		if v.profile == a.profile && v.demands == demands {
			return v
		}
	}
	return nil
}

// keep remembers the statuses of all nodes, by position, in place of those known before, if any. Nodes that were promised to
// pods, by position too, were judged by more than what they are.
func (m *memory) keep(a *attempt, before *verdicts, nodes []*framework.NodeInfo, statuses []*framework.Status, promised []int) {
	if !a.profile.FiltersLocally(a.cycle) {
		return
	}
	v := before
	if v == nil {
		v = &verdicts{profile: a.profile, demands: a.queued.Info.Demands()}
		if len(m.all) < rememberedSpecs {
			m.all = append(m.all, v)
		} else {
			m.all[m.next] = v
			m.next = (m.next + 1) % rememberedSpecs
		}
	}
	v.nodes = append(v.nodes[:0], nodes...)
	v.statuses = append(v.statuses[:0], statuses...)
	for _, position := range promised {
		v.nodes[position] = nil
	}
}
