package policy

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// loop applies changes as they come, and makes the tables anew at the start, after a failure, and when they were
// tampered with.
func (e *Enforcer) loop(ctx context.Context) {
	logger := klog.FromContext(ctx)
	ready := sync.OnceFunc(func() { close(e.ready) })
	repair := time.NewTicker(e.config.RepairPeriod)
	defer repair.Stop()
	waiting := e.read()
	for whole := true; ; {
		if err := e.sync(ctx, whole); err != nil {
			logger.Error(err, "Network policies may be enforced wrongly, and no pod starts, until this succeeds")
			if !pause(ctx, retryPeriod) {
				return
			}
			whole = true
			waiting = append(waiting, e.read()...)
			continue
		}
		ready()
		for _, w := range waiting {
			close(w)
		}
		waiting = nil
		switch e.wait(ctx, repair.C) {
		case ended:
			return
		case damaged:
			logger.Info("Another program changed or removed the nftables table; making it anew", "table", e.config.Table)
			whole = true
		case changed:
			whole = false
			waiting = e.read()
		}
	}
}

// read brings what changed to the book, and answers who waits for that to be in the kernel.
func (e *Enforcer) read() []chan struct{} {
	dirty, waiting := e.dirty.take()
	for _, o := range dirty {
		e.note(o)
	}
	return waiting
}

// event is why wait came back.
type event int

const (
	ended event = iota
	changed
	damaged
)

// wait comes back when there is something to do.
func (e *Enforcer) wait(ctx context.Context, repair <-chan time.Time) event {
	for {
		select {
		case <-ctx.Done():
			return ended
		case <-e.dirty.signal:
			return changed
		case <-repair:
			intact, err := e.kernel.Intact()
			if err != nil {
				klog.FromContext(ctx).Error(err, "Looking whether the nftables table is intact")
			}
			if !intact || err != nil {
				return damaged
			}
		}
	}
}

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sync brings the kernel to the wanted state: the whole of it, or what differs.
func (e *Enforcer) sync(ctx context.Context, whole bool) error {
	start := time.Now() //nolint:forbidigo // only measured, for the log and the metrics
	changes := e.book.Changes()
	if !whole && changes.Empty() {
		e.book.Committed()
		return nil
	}
	var err error
	if whole {
		changes = e.book.Content()
		err = e.kernel.replace(changes)
	} else {
		err = e.kernel.update(changes)
	}
	took := time.Since(start) //nolint:forbidigo // only measured, for the log and the metrics
	e.metrics.synced(whole, err, took)
	if err != nil {
		return err
	}
	e.book.Committed()
	klog.FromContext(ctx).V(2).Info("Synced", "whole", whole, "removed", len(changes.Elements.Removed),
		"added", len(changes.Elements.Added), "took", took)
	return nil
}
