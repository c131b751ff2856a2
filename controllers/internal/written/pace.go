package written

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// perObject is how much longer a status rests for each object that it counts, up to longestRest.
	perObject   = 5 * time.Millisecond
	longestRest = 4 * time.Second
	// leavingRest is how much longer the number of terminating objects rests: nobody acts on it.
	leavingRest = 3
	// gatherPerObject is how much longer events are gathered for each object that a plan looks at, up to longestGather.
	gatherPerObject = 200 * time.Microsecond
	longestGather   = 200 * time.Millisecond
)

// Pace spaces out the writes of statuses that count objects which are on their way, so that following a thousand pods
// takes tens of writes, or the plans that look at those objects. One that is not the first in a while waits, longer the
// more objects there are; one that somebody waits for must not be asked about. The zero value is ready to use; it is safe for use by several goroutines.
type Pace struct {
	mu    sync.Mutex
	wrote map[types.NamespacedName]time.Time
}

// Rest is the least time between two writes of a status that counts that many objects, if the next has news of so many
// of them: that of a half is not to wait, as it may be what the next step needs.
func Rest(objects, news int32) time.Duration {
	if news > 0 && news >= objects/2 {
		return 0
	}
	return min(time.Duration(objects)*perObject, longestRest)
}

// RestOfLeaving is that time if the only news is that some of the objects that terminate are gone.
func RestOfLeaving(objects int32) time.Duration { return leavingRest * Rest(objects, 0) }

// Gather is the least time between two plans that look at that many objects. Each of their events asks for a plan, which
// looks at all of them: the events of so long make one.
func Gather(objects int32) time.Duration {
	return min(time.Duration(objects)*gatherPerObject, longestGather)
}

// Wait answers how long key's next is to be put off so that rest lies between it and the one before; 0 for not at all.
func (p *Pace) Wait(key types.NamespacedName, rest time.Duration, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wrote, ok := p.wrote[key]
	if !ok {
		return 0
	}
	return max(0, min(rest, rest-now.Sub(wrote)))
}

// Wrote notes that key's was done.
func (p *Pace) Wrote(key types.NamespacedName, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wrote == nil {
		p.wrote = map[types.NamespacedName]time.Time{}
	}
	p.wrote[key] = now
}

// Forget drops what is known of key, for when its object is gone or at rest.
func (p *Pace) Forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.wrote, key)
}
