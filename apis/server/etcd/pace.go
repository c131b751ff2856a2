package etcd

import (
	"time"

	"k8s.io/utils/clock"
)

// beat is what long timers of the watch caches are rounded to, so that those of
// all resources go off together: one wakeup a second instead of one each.
const beat = time.Second

// paced is the real clock with timers that go off on a beat.
type paced struct {
	clock.RealClock

	start time.Time
}

func newPaced() paced { return paced{start: time.Now()} } //nolint:forbidigo // the clock itself

// NewTimer implements clock.Clock. Timers shorter than half a beat are left as they are.
func (p paced) NewTimer(d time.Duration) clock.Timer {
	return pacedTimer{p.RealClock.NewTimer(p.round(d)), p}
}

// round moves the end of d to the nearest beat.
func (p paced) round(d time.Duration) time.Duration {
	if d < beat/2 {
		return d
	}
	since := p.Since(p.start)
	return max((since+d).Round(beat)-since, beat/2)
}

type pacedTimer struct {
	clock.Timer

	clock paced
}

// Reset implements clock.Timer.
func (t pacedTimer) Reset(d time.Duration) bool { return t.Timer.Reset(t.clock.round(d)) }
