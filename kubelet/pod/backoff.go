package pod

import "time"

// The bounds of the back-off of crashing containers.
const (
	restartFirst = 10 * time.Second
	restartMost  = 5 * time.Minute
	// restartForget is how long a container must have run for its back-off to begin anew.
	restartForget = 2 * restartMost
)

// Backoff is the back-off of one container. The first restart after an exit is immediate; each further one waits twice as
// long as the one before, counted from the exit.
type Backoff struct {
	Delay   time.Duration
	Updated time.Time
}

// Wait is how long a restart must still wait, for a container that exited at finished.
func (b Backoff) Wait(finished, now time.Time) time.Duration {
	if b.Delay == 0 || b.expired(finished) {
		return 0
	}
	return max(0, b.Delay-now.Sub(finished))
}

// Next is the back-off after a restart at now of a container that exited at finished.
func (b Backoff) Next(finished, now time.Time) Backoff {
	if b.Delay == 0 || b.expired(finished) {
		return Backoff{Delay: restartFirst, Updated: now}
	}
	return Backoff{Delay: min(2*b.Delay, restartMost), Updated: now}
}

func (b Backoff) expired(finished time.Time) bool { return finished.Sub(b.Updated) > restartForget }
