package plugins

import (
	"cmp"
	"slices"
	"time"
)

// A registration that failed is tried again after the first pause, then after twice as long, up to the last.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 2 * time.Minute
)

// identity tells a socket from one that a restarted plugin puts in its place.
type identity struct {
	device, inode uint64
	changed       time.Time
}

// state is what is known of one socket.
type state struct {
	id identity
	// busy says that it is being registered or deregistered.
	busy bool
	// registered names what was registered through it; nil if nothing was.
	registered *plugin
	// taken orders registrations: of a plugin with several sockets, the last one's endpoint is in use.
	taken uint64
	// retry is when to try again after a failure, pause how long that was after it.
	retry time.Time
	pause time.Duration
}

// step is one socket to deal with: to register it, or to deregister what was registered through it.
type step struct {
	path     string
	register bool
}

// plan says what to do, given the sockets that there are and what is known of them, and how long until something is to be
// tried again; negative if nothing is. A socket in whose place another came is deregistered first.
func plan(found map[string]identity, known map[string]*state, now time.Time) (steps []step, wait time.Duration) {
	wait = -1
	for path, s := range known {
		id, there := found[path]
		if !s.busy && s.registered != nil && (!there || id != s.id) {
			steps = append(steps, step{path: path})
		}
	}
	for path, id := range found {
		s := known[path]
		switch {
		case s == nil:
			steps = append(steps, step{path: path, register: true})
		case s.busy || s.registered != nil:
		case id != s.id || !now.Before(s.retry):
			steps = append(steps, step{path: path, register: true})
		case wait < 0 || s.retry.Sub(now) < wait:
			wait = s.retry.Sub(now)
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.path, b.path) })
	return steps, wait
}

// failed notes a failure.
func (s *state) failed(now time.Time) {
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	s.retry = now.Add(s.pause)
}
