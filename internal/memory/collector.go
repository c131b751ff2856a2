package memory

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// minPercent and maxPercent bound how far the heap may grow beyond what is
	// alive before it is collected.
	minPercent, maxPercent = 15, 100
	// startPercent is the growth of a server that starts. More scatters what stays
	// over a larger heap for good.
	startPercent = 60
	// busyRoom is how many bytes a busy server's heap may always grow by after the
	// start, if that is no more than a share of the machine's memory: marking is a
	// quarter of what a request costs when it happens every 100 MB.
	busyRoom      = 512 << 20
	busyRoomShare = 16
	// mostPercent bounds that room by what is alive: more would hardly make marking rarer, and what stays would lie
	// scattered over it for good.
	mostPercent = 300
	// collectEvery is how much time is meant to lie between two collections.
	collectEvery = 30 * time.Second
	// shortest is the least time that a rate is taken over: a collection that
	// was asked for, soon after another, says little.
	shortest = time.Second
)

// collector paces garbage collection: what an idle server would let grow for
// minutes is room it does not need, and a busy one is to be collected seldom.
// It looks after each collection, and needs no timer.
type collector struct {
	at        time.Time
	allocated uint64
	room      uint64 // bytes that a busy server's heap may grow by
	samples   []metrics.Sample

	mu    sync.Mutex
	ended bool
}

// mark is garbage at once: its finalizer runs after the next collection. The
// pointer keeps it out of the allocator's shared blocks, where finalizers may not run.
type mark struct{ owner *collector }

// Start lets the heap of a starting server grow as far as it may.
func Start() {
	if !userPaced() {
		debug.SetGCPercent(startPercent)
	}
}

// userPaced reports whether the user paces the collector, whom nothing overrules.
func userPaced() bool { return os.Getenv("GOGC") != "" }

// paceCollector paces until stop returns.
func paceCollector() (stop func()) {
	if userPaced() {
		return func() {}
	}
	c := newCollector()
	c.collected()
	return c.stop
}

func newCollector() *collector {
	return &collector{room: room(), samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}}
}

func (c *collector) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// collected paces what comes until the next collection.
func (c *collector) collected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.pace(time.Now()) //nolint:forbidigo // the collector's own time
	runtime.SetFinalizer(&mark{c}, func(m *mark) { m.owner.collected() })
}

// pace sets the growth after which the next collection begins.
func (c *collector) pace(now time.Time) {
	metrics.Read(c.samples)
	allocated := c.samples[0].Value.Uint64()
	base := c.samples[1].Value.Uint64() + c.samples[2].Value.Uint64() + c.samples[3].Value.Uint64()
	percent := minPercent
	if !c.at.IsZero() {
		percent = growth(allocated-c.allocated, now.Sub(c.at), base, c.room)
	}
	c.at, c.allocated = now, allocated
	debug.SetGCPercent(percent)
}

// room is what the machine has for a busy server's heap to grow.
func room() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return min(busyRoom, info.Totalram*uint64(info.Unit)/busyRoomShare)
}

// growth is the percentage of base that is allocated within collectEvery, going
// by what was allocated within the time past. Up to room, it may be any.
func growth(allocated uint64, past time.Duration, base, room uint64) int {
	if base == 0 {
		return maxPercent
	}
	rate := float64(allocated) / max(past, shortest).Seconds()
	percent := rate * collectEvery.Seconds() * 100 / float64(base)
	most := max(maxPercent, min(mostPercent, float64(room)*100/float64(base)))
	return int(min(max(percent, minPercent), most))
}
