package scheduler

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLaneIsNoWiderThanItIs(t *testing.T) {
	const width, works = 4, 50
	b := &background{}
	b.start(t.Context())
	l := &lane{background: b, width: width}
	var running, most atomic.Int32
	full := make(chan struct{}) // closed by the one that fills the lane; nobody leaves before
	var once sync.Once
	for range works {
		l.Go(func(context.Context) {
			now := running.Add(1)
			for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
			}
			if now == width {
				once.Do(func() { close(full) })
			}
			<-full
			running.Add(-1)
		})
	}
	b.join()
	if got := most.Load(); got != width {
		t.Errorf("%d at once, want %d", got, width)
	}
}

func TestLaneKeepsTheOrder(t *testing.T) {
	b := &background{}
	b.start(t.Context())
	l := &lane{background: b, width: 1}
	var mu sync.Mutex
	var got []int
	for round := range 3 { // each begins with no goroutine
		for i := range 10 {
			l.Go(func(context.Context) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, round*10+i)
			})
		}
		b.join()
	}
	if len(got) != 30 || !slices.IsSorted(got) {
		t.Errorf("got %v", got)
	}
}
