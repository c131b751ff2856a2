package framework

import (
	"context"
	"fmt"
	"slices"
)

// Reserve runs the Reserve plugins; when one objects, all give back what they took.
func (f *Framework) Reserve(ctx context.Context, c *Cycle, node string) *Status {
	for _, p := range f.reserve {
		if s := p.Reserve(ctx, c, node); !s.IsSuccess() {
			f.Unreserve(ctx, c, node)
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// Unreserve gives back what Reserve took, in reverse order.
func (f *Framework) Unreserve(ctx context.Context, c *Cycle, node string) {
	for _, p := range slices.Backward(f.reserve) {
		p.Unreserve(ctx, c, node)
	}
}

// PreBind runs the PreBind plugins in order.
func (f *Framework) PreBind(ctx context.Context, c *Cycle, node string) *Status {
	for _, p := range f.preBind {
		if s := p.PreBind(ctx, c, node); !s.IsSuccess() {
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// Bind asks the Bind plugins in order until one doesn't skip.
func (f *Framework) Bind(ctx context.Context, c *Cycle, node string) *Status {
	for _, p := range f.bind {
		if s := p.Bind(ctx, c, node); !s.IsSkip() {
			return s.WithPlugin(p.Name())
		}
	}
	return AsStatus(fmt.Errorf("every bind plugin skipped the pod"))
}

// PostBind tells the PostBind plugins.
func (f *Framework) PostBind(ctx context.Context, c *Cycle, node string) {
	for _, p := range f.postBind {
		p.PostBind(ctx, c, node)
	}
}
