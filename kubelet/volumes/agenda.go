package volumes

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// agenda says which pods' volumes have to be rendered again, and when.
type agenda struct {
	changed chan struct{} // holds a token when something was added

	mu sync.Mutex
	at map[types.UID]time.Time
}

func newAgenda() *agenda {
	return &agenda{changed: make(chan struct{}, 1), at: map[types.UID]time.Time{}}
}

// add puts a pod on the agenda, or moves it forward if it is on it for later.
func (a *agenda) add(uid types.UID, when time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if planned, ok := a.at[uid]; ok && !when.Before(planned) {
		return
	}
	a.at[uid] = when
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// drop takes a pod off the agenda.
func (a *agenda) drop(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.at, uid)
}

// take removes and answers the pods that are due, and how long until the next is; negative if there is none.
func (a *agenda) take(now time.Time) (due []types.UID, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = -1
	for uid, when := range a.at {
		if left := when.Sub(now); left > 0 {
			if wait < 0 || left < wait {
				wait = left
			}
			continue
		}
		due = append(due, uid)
		delete(a.at, uid)
	}
	return due, wait
}
