package scheduler

import (
	"context"
	"sync"
)

// lane does work in the order in which it comes, with at most width at once. A flood of requests would only queue at the
// API server, be turned away there and come again later. It has no goroutine while there is nothing to do.
type lane struct {
	background *background
	width      int

	mu      sync.Mutex
	waiting []func(ctx context.Context)
	running int
}

// Go has the work done.
func (l *lane) Go(work func(ctx context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, work)
	if l.running < l.width {
		l.running++
		l.background.Go(l.drain)
	}
}

func (l *lane) drain(ctx context.Context) {
	for work := l.next(); work != nil; work = l.next() {
		work(ctx)
	}
}

// next takes the first piece of work; nil ends the goroutine that asks.
func (l *lane) next() func(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.waiting = nil // with what the longest queue needed
		l.running--
		return nil
	}
	work := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	return work
}

// parallelBindings bounds the bindings that are written at once. It is less than the seats that priority and fairness
// has for schedulers by default, and enough for the store to take many with one write to the disk.
const parallelBindings = 64
