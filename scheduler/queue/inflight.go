package queue

import (
	"k8s.io/apimachinery/pkg/types"

	"skiff/scheduler/framework"
)

// flight is one attempt at a pod.
type flight struct {
	// from is the number of the first change since Pop.
	from int
	// latest is the pod's newest version seen since Pop, gone says that it was deleted or placed.
	latest *framework.PodInfo
	gone   bool
	// decided attempts need no changes kept.
	decided bool
}

// inFlight remembers the changes since each popped pod was popped; changes no attempt needs are dropped.
type inFlight struct {
	flights map[types.UID]*flight
	// undecided counts the flights that need changes kept.
	undecided int
	changes   []framework.Change
	// base is the number of changes[0].
	base int
}

func (f *inFlight) start(uid types.UID) {
	f.flights[uid] = &flight{from: f.base + len(f.changes)}
	f.undecided++
}

func (f *inFlight) record(change framework.Change) {
	if f.undecided > 0 {
		f.changes = append(f.changes, change)
	}
}

// since answers the changes since Pop. They are never overwritten, only let go.
func (f *inFlight) since(fl *flight) []framework.Change {
	if fl.decided {
		return nil
	}
	return f.changes[fl.from-f.base:]
}

func (f *inFlight) decided(uid types.UID) {
	if fl := f.flights[uid]; fl != nil && !fl.decided {
		fl.decided = true
		f.undecided--
		f.trim()
	}
}

func (f *inFlight) done(uid types.UID) {
	f.decided(uid)
	delete(f.flights, uid)
}

// trim drops the changes older than every undecided attempt. Only one attempt is undecided at a time, plus those held by
// Permit plugins, so the usual case is that none is left.
func (f *inFlight) trim() {
	if f.undecided == 0 {
		f.base += len(f.changes)
		f.changes = nil
		return
	}
	oldest := f.base + len(f.changes)
	for _, fl := range f.flights {
		if !fl.decided {
			oldest = min(oldest, fl.from)
		}
	}
	f.changes = f.changes[oldest-f.base:]
	f.base = oldest
}
