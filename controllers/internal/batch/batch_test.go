package batch

import (
	"context"
	"errors"
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
