package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, c := range []struct {
		name      string
		allocated uint64
		past      time.Duration
		base      uint64
		want      int
	}{
		{"nothing happens", 0, time.Minute, 50 * mb, minPercent},
		{"a little happens", 10 * mb, collectEvery, 50 * mb, 20},
		{"much happens", 10 * mb, time.Second, 512 * mb, 58},
		{"too much happens", 500 * mb, time.Second, 512 * mb, maxPercent},
		{"much happens in a small heap", 50 * mb, time.Second, 64 * mb, 200},
		{"much happens in a tiny heap", 50 * mb, time.Second, 16 * mb, mostPercent},
		{"no time has passed", 400 << 10, 0, 50 * mb, 23},
		{"nothing is alive", mb, time.Second, 0, maxPercent},
	} {
		if got := growth(c.allocated, c.past, c.base, 128*mb); got != c.want {
			t.Errorf("%s: %d %%, want %d", c.name, got, c.want)
		}
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	if got := room(); got == 0 || got > busyRoom {
		t.Errorf("room for %d bytes", got)
	}
}

// TestPace follows the allocations of a program that gets busy, and leaves all alone after stop.
func TestPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	c := newCollector()
	now := time.Now() //nolint:forbidigo // any time
	c.pace(now)
	if got := percent(); got != minPercent {
		t.Errorf("%d %% at first, want %d", got, minPercent)
	}
	garbage = make([]byte, 1<<30)
	garbage = nil
	c.pace(now.Add(time.Second))
	if got := percent(); got < maxPercent {
		t.Errorf("%d %% in a busy program, want at least %d", got, maxPercent)
	}
	c.stop()
	debug.SetGCPercent(100)
	c.collected()
	if got := percent(); got != 100 {
		t.Errorf("%d %% after stop, want 100", got)
	}
}

// TestCollected hears of collections.
func TestCollected(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	c := newCollector()
	c.collected()
	defer c.stop()
	last := func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.at
	}
	for range 2 {
		before := last()
		for deadline := time.After(10 * time.Second); last().Equal(before); { //nolint:forbidigo // the collector is no part of a bubble
			runtime.GC()
			select {
			case <-deadline:
				t.Fatal("heard of no collection")
			case <-time.After(time.Millisecond): //nolint:forbidigo // lets the finalizer in
			}
		}
	}
}

// garbage keeps the compiler from leaving allocations out.
var garbage []byte

func percent() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
