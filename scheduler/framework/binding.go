package framework

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Reserve runs the Reserve plugins; when one objects, all give back what they took.
func (f *Framework) Reserve(ctx context.Context, c *Cycle, node string) (status *Status) {
	defer f.ran(ranReserve, time.Now(), &status)
	for _, p := range f.reserve {
		call := f.call(c, p, ranReserve)
		s := p.Reserve(ctx, c, node)
		if call.done(s); !s.IsSuccess() {
			f.Unreserve(ctx, c, node)
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// Unreserve gives back what Reserve took, in reverse order.
func (f *Framework) Unreserve(ctx context.Context, c *Cycle, node string) {
	var success *Status
	defer f.ran(ranUnreserve, time.Now(), &success)
	for _, p := range slices.Backward(f.reserve) {
		call := f.call(c, p, ranUnreserve)
		p.Unreserve(ctx, c, node)
		call.done(nil)
	}
}

// Decided drops what plugins keep of the search for a node, which thousands of pods that wait to be bound would hold. What
// a plugin needs from Permit on it writes under its name.
func (f *Framework) Decided(c *Cycle) { c.keep(f.binders) }

// PreBindPreFlight asks whether a PreBind plugin has something to do; Skip says none.
func (f *Framework) PreBindPreFlight(ctx context.Context, c *Cycle, node string) *Status {
	out := NewStatus(Skip)
	for _, p := range f.preBind {
		asked, ok := p.(PreBindPreFlight)
		if !ok {
			out = nil
			continue
		}
		switch s := asked.PreBindPreFlight(ctx, c, node); {
		case s.IsSkip():
		case s.IsSuccess():
			out = nil
		default:
			return AsStatus(fmt.Errorf("asking plugin %s for the work before binding: %w", p.Name(), s.Err()))
		}
	}
	return out
}

// PreBind runs the PreBind plugins in order.
func (f *Framework) PreBind(ctx context.Context, c *Cycle, node string) (status *Status) {
	defer f.ran(ranPreBind, time.Now(), &status)
	for _, p := range f.preBind {
		call := f.call(c, p, ranPreBind)
		s := p.PreBind(ctx, c, node)
		if call.done(s); !s.IsSuccess() {
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// Bind asks the Bind plugins in order until one doesn't skip.
func (f *Framework) Bind(ctx context.Context, c *Cycle, node string) (status *Status) {
	defer f.ran(ranBind, time.Now(), &status)
	for _, p := range f.bind {
		call := f.call(c, p, ranBind)
		s := p.Bind(ctx, c, node)
		if call.done(s); !s.IsSkip() {
			return s.WithPlugin(p.Name())
		}
	}
	return AsStatus(fmt.Errorf("every bind plugin skipped the pod"))
}

// PostBind tells the PostBind plugins.
func (f *Framework) PostBind(ctx context.Context, c *Cycle, node string) {
	var success *Status
	defer f.ran(ranPostBind, time.Now(), &success)
	for _, p := range f.postBind {
		call := f.call(c, p, ranPostBind)
		p.PostBind(ctx, c, node)
		call.done(nil)
	}
}
