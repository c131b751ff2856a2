package control

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Clock goes as fast as the real one and jumps ahead when it is told to, which ends waits that are over by then.
// So retries and polls work as ever, and a test needs no hours.
type Clock struct {
	clock.RealClock

	mu     sync.Mutex
	offset time.Duration
	waits  map[*wait]bool
}

// wait is a timer or a ticker.
type wait struct {
	owner *Clock
	out   chan time.Time
	call  func()
	at    time.Time
	every time.Duration // of a ticker
	real  *time.Timer
}

// NewClock answers a clock that shows now.
func NewClock(now time.Time) *Clock {
	return &Clock{offset: time.Until(now), waits: map[*wait]bool{}}
}

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time { return time.Now().Add(c.offset) }

// Since is how long ago t was.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Jump lets d pass at once.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	for w := range c.waits {
		w.real.Reset(w.at.Sub(c.now()))
	}
}

// After sends the time once d has passed.
func (c *Clock) After(d time.Duration) <-chan time.Time { return c.NewTimer(d).C() }

// NewTimer is a timer on the clock.
func (c *Clock) NewTimer(d time.Duration) clock.Timer { return timer{c.wait(d, 0, nil)} }

// AfterFunc calls f once d has passed.
func (c *Clock) AfterFunc(d time.Duration, f func()) clock.Timer { return timer{c.wait(d, 0, f)} }

// NewTicker is a ticker on the clock; a jump over many of its ticks gives one.
func (c *Clock) NewTicker(d time.Duration) clock.Ticker { return ticker{c.wait(d, d, nil)} }

// Tick is a ticker that can't be stopped.
func (c *Clock) Tick(d time.Duration) <-chan time.Time { return c.NewTicker(d).C() }

// Sleep waits until d has passed.
func (c *Clock) Sleep(d time.Duration) { <-c.After(d) }

func (c *Clock) wait(d, every time.Duration, call func()) *wait {
	w := &wait{owner: c, out: make(chan time.Time, 1), call: call, every: every}
	c.mu.Lock()
	defer c.mu.Unlock()
	w.at = c.now().Add(d)
	c.waits[w] = true
	w.real = time.AfterFunc(d, w.fire)
	return w
}

func (w *wait) fire() {
	c := w.owner
	c.mu.Lock()
	now := c.now()
	if !c.waits[w] || now.Before(w.at) {
		c.mu.Unlock()
		return
	}
	if w.every > 0 {
		w.at = now.Add(w.every)
		w.real.Reset(w.every)
	} else {
		delete(c.waits, w)
	}
	c.mu.Unlock()
	if w.call != nil {
		w.call()
		return
	}
	select {
	case w.out <- now:
	default:
	}
}

func (w *wait) stop() bool {
	c := w.owner
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := c.waits[w]
	delete(c.waits, w)
	w.real.Stop()
	return waited
}

func (w *wait) reset(d time.Duration) bool {
	c := w.owner
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := c.waits[w]
	select { // as with timers of Go, nothing old is received after a reset
	case <-w.out:
	default:
	}
	c.waits[w] = true
	w.at = c.now().Add(d)
	w.real.Reset(d)
	return waited
}

type timer struct{ *wait }

// C is where the time is sent.
func (t timer) C() <-chan time.Time { return t.out }

// Stop ends the wait and answers whether it lasted.
func (t timer) Stop() bool { return t.stop() }

// Reset starts the wait anew.
func (t timer) Reset(d time.Duration) bool { return t.reset(d) }

type ticker struct{ *wait }

// C is where the time is sent.
func (t ticker) C() <-chan time.Time { return t.out }

// Stop ends the ticker.
func (t ticker) Stop() { t.stop() }
