package memory

import (
	"runtime/metrics"
	"time"
)

const (
	// lookEvery is how often an idle process looks whether it holds what it needed while it was busy; the runtime itself
	// would look every two minutes.
	lookEvery = 15 * time.Second
	// worthwhile is the least that is worth a collection.
	worthwhile = 16 << 20
	// usualShare of what is alive is held anyway: garbage until the next collection, and what the runtime keeps for after.
	usualShare = 3
)

// idleness watches how much the heap holds beside what is alive, and how fast garbage grows.
type idleness struct {
	allocated uint64
	samples   []metrics.Sample
}

func newIdleness() *idleness {
	i := &idleness{samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}}
	metrics.Read(i.samples)
	i.allocated = i.samples[0].Value.Uint64()
	return i
}

// holdsTooMuch is to be asked every lookEvery.
func (i *idleness) holdsTooMuch() bool {
	metrics.Read(i.samples)
	allocated, objects, live, free := i.samples[0].Value.Uint64(), i.samples[1].Value.Uint64(), i.samples[2].Value.Uint64(), i.samples[3].Value.Uint64()
	grown := allocated - i.allocated
	i.allocated = allocated
	return tooMuch(grown, max(objects, live)-live+free, live)
}

// tooMuch is more garbage and free room than is usual, and than what was allocated in the last lookEvery takes twice the
// time between two collections to fill.
func tooMuch(grown, held, live uint64) bool {
	return held > max(worthwhile, live/usualShare, 2*grown*uint64(collectEvery/lookEvery))
}
