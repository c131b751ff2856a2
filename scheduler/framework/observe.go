package framework

import (
	"context"
	"time"
)

// Observer is told what the plugins of a profile do, for metrics. Points and plugins are named as in upstream's metrics;
// an extension point's status is the one that its plugins ended with.
type Observer interface {
	// Ran is told of every run of all plugins at an extension point.
	Ran(profile, point string, code Code, took time.Duration)
	// RanPlugin is told of single plugins in the cycles that are sampled: of every call, but for Filter and Score, where it
	// is told of one node.
	RanPlugin(plugin, point string, code Code, took time.Duration)
	// Evaluations answers what counts the calls of a plugin.
	Evaluations(profile, plugin, point string) func(calls int)
	// Waited is told how long a pod was held by Permit plugins.
	Waited(code Code, took time.Duration)
}

// The extension points as metrics spell them.
const (
	ranPreFilter  = "PreFilter"
	ranFilter     = "Filter"
	ranPostFilter = "PostFilter"
	ranPreScore   = "PreScore"
	ranScore      = "Score"
	ranNormalize  = "ScoreExtensionNormalize"
	ranReserve    = "Reserve"
	ranUnreserve  = "Unreserve"
	ranPermit     = "Permit"
	ranPreBind    = "PreBind"
	ranBind       = "Bind"
	ranPostBind   = "PostBind"
)

// ran reports a run of an extension point that began at a time. It is deferred, so it is given where the status will be.
func (f *Framework) ran(point string, began time.Time, s **Status) {
	if f.observer != nil {
		f.observer.Ran(f.name, point, (*s).Code(), time.Since(began))
	}
}

// call is one call of a plugin in a sampled cycle; the zero value is one that nobody asks about.
type call struct {
	observer      Observer
	plugin, point string
	began         time.Time
}

// call begins one.
func (f *Framework) call(c *Cycle, plugin Plugin, point string) call {
	if !c.Sampled || f.observer == nil {
		return call{}
	}
	return call{f.observer, plugin.Name(), point, time.Now()}
}

// done ends it.
func (c call) done(s *Status) {
	if c.observer != nil {
		c.observer.RanPlugin(c.plugin, c.point, s.Code(), time.Since(c.began))
	}
}

// counter answers what counts calls of a plugin at an extension point.
func (f *Framework) counter(plugin Plugin, point string) func(calls int) {
	if f.observer == nil {
		return func(int) {}
	}
	return f.observer.Evaluations(f.name, plugin.Name(), point)
}

// Filtered reports a search for nodes that began at a time: the statuses of the nodes that were looked at, and the first
// of them. Counting here instead of where filters are called keeps that loop free of what all its goroutines share. A
// node is counted once, whatever was asked about pods that are promised to it. That nodes are turned down is a success of
// the search, as upstream has it.
func (f *Framework) Filtered(ctx context.Context, c *Cycle, began time.Time, first *NodeInfo, statuses []*Status) {
	if f.observer == nil {
		return
	}
	took, code := time.Since(began), Success
	calls, rejected := 0, make([]int, len(f.filters))
	var last *Status
	by := -1
	for _, s := range statuses {
		calls++
		if s.IsSuccess() {
			continue
		}
		if s != last { // neighbours often share one
			last, by = s, indexOf(f.filters, s.Plugin())
			if s.Code() == Error {
				code = Error
			}
		}
		if by >= 0 {
			rejected[by]++
		}
	}
	f.observer.Ran(f.name, ranFilter, code, took)
	for k, count := range f.filterCounts {
		if c.noFilter&(1<<k) == 0 {
			count(calls)
			calls -= rejected[k]
		}
	}
	if c.Sampled {
		f.sampleFilters(ctx, c, first)
	}
}

// sampleFilters times the filters on one node.
func (f *Framework) sampleFilters(ctx context.Context, c *Cycle, node *NodeInfo) {
	for i, p := range f.filters {
		if c.noFilter&(1<<i) != 0 {
			continue
		}
		call := f.call(c, p, ranFilter)
		s := p.Filter(ctx, c, node)
		call.done(s)
		if !s.IsSuccess() {
			return
		}
	}
}
