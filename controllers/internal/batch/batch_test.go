package batch

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestSlowStartStopsSoon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count, good := rapid.IntRange(0, 300).Draw(t, "count"), rapid.IntRange(0, 300).Draw(t, "good")
		var calls atomic.Int64
		done, err := SlowStart(t.Context(), count, func(_ context.Context, i int) error {
			calls.Add(1)
			if i >= good {
				return errors.New("refused")
			}
			return nil
		})
		if done != min(count, good) || (err != nil) != (count > good) {
			t.Fatalf("%d done of %d, %d possible: %v", done, count, good, err)
		}
		if wasted := int(calls.Load()) - done; wasted > good+1 {
			t.Fatalf("%d calls were refused after %d successes", wasted, done)
		}
	})
}

func TestSlowStartCallsEachOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]int{}
	done, err := SlowStart(t.Context(), 100, func(_ context.Context, i int) error {
		mu.Lock()
		defer mu.Unlock()
		seen[i]++
		return nil
	})
	if done != 100 || err != nil || len(seen) != 100 || seen[0] != 1 || seen[99] != 1 {
		t.Errorf("%d done, %v, %d seen", done, err, len(seen))
	}
}

// The server's priority and fairness refuses what it can't queue, so a batch keeps few requests under way.
func TestAllKeepsFewUnderWay(t *testing.T) {
	var now, most atomic.Int64
	failed, err := All(t.Context(), 5*inFlight, func(context.Context, int) error {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		runtime.Gosched()
		return nil
	})
	if failed != 0 || err != nil || most.Load() > inFlight {
		t.Errorf("%d failed, %v; %d under way at once", failed, err, most.Load())
	}
}
