package memory

import (
	"runtime/metrics"
	"time"
)

const (
	// lookEvery is how often an idle process looks whether it holds what it needed while it was busy; the runtime itself
	// would look every two minutes.
	lookEvery = 15 * time.Second
	// worthwhile is the least garbage that is worth a collection.
	worthwhile = 16 << 20
)

// idleness watches how much garbage the heap holds, and how fast it grows.
type idleness struct {
	allocated uint64
	samples   []metrics.Sample
}

func newIdleness() *idleness {
	i := &idleness{samples: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}}
	metrics.Read(i.samples)
	i.allocated = i.samples[0].Value.Uint64()
	return i
}

// holdsTooMuch is to be asked every lookEvery.
func (i *idleness) holdsTooMuch() bool {
	metrics.Read(i.samples)
	allocated, objects, live := i.samples[0].Value.Uint64(), i.samples[1].Value.Uint64(), i.samples[2].Value.Uint64()
	grown := allocated - i.allocated
	i.allocated = allocated
	return tooMuch(grown, max(objects, live)-live)
}

// tooMuch is garbage that, with what was allocated in the last lookEvery, would have taken more than twice the time
// between two collections to gather.
func tooMuch(grown, garbage uint64) bool {
	return garbage > max(worthwhile, 2*grown*uint64(collectEvery/lookEvery))
}
