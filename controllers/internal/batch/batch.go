// Package batch does many equal requests at once without flooding a server that refuses them.
package batch

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Burst is the most requests that one plan may cause.
const Burst = 500

// inFlight is the most requests of one batch that are under way: as many keep the server busy, and many more would be
// refused by its priority and fairness.
const inFlight = 64

// SlowStart calls f count times, in batches of 1, 2, 4, ... calls at once, and stops after the first batch with an
// error, so that a quota or a bad template costs few requests. It answers the number of successes and the first error of
// the last batch.
func SlowStart(ctx context.Context, count int, f func(ctx context.Context, i int) error) (int, error) {
	done := 0
	for size := 1; done < count; size *= 2 {
		n := min(size, count-done)
		first := done
		failed, err := All(ctx, n, func(ctx context.Context, i int) error { return f(ctx, first+i) })
		done += n - failed
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// All calls f count times, many at once, and answers the number of failures and the first error: the requests are equal,
// so the others say the same.
func All(ctx context.Context, count int, f func(ctx context.Context, i int) error) (int, error) {
	errs := make([]error, count)
	var calls errgroup.Group
	calls.SetLimit(inFlight)
	for i := range count {
		calls.Go(func() error {
			errs[i] = f(ctx, i)
			return nil
		})
	}
	_ = calls.Wait() // no call of the group's answers an error
	failed := 0
	var firstErr error
	for _, err := range errs {
		if err == nil {
			continue
		}
		failed++
		if firstErr == nil {
			firstErr = err
		}
	}
	return failed, firstErr
}
