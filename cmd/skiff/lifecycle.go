package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/klog/v2"
)

// layer runs parts side by side. Layers are ended one after the other: what is
// above goes first, and finds what it stands on still there.
type layer struct {
	ctx    context.Context //nolint:containedctx // the life of the parts, which New's caller ends with close
	cancel context.CancelCauseFunc
	group  sync.WaitGroup
	// failed is told the first error of any part, so that the whole ends.
	failed func(error)
}

// newLayer makes a layer that outlives ctx until it is closed.
func newLayer(ctx context.Context, failed func(error)) *layer {
	l := &layer{failed: failed}
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return l
}

// run starts a part. One that ends before its layer is closed has failed.
func (l *layer) run(name string, part func(context.Context) error) {
	l.group.Go(func() {
		ctx := klog.NewContext(l.ctx, klog.FromContext(l.ctx).WithName(name))
		err := part(ctx)
		if l.ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				klog.FromContext(ctx).Error(err, "ending")
			}
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		l.failed(fmt.Errorf("%s: %w", name, err))
	})
}

// close ends all parts and waits for them.
func (l *layer) close() {
	l.cancel(context.Canceled)
	l.group.Wait()
}
