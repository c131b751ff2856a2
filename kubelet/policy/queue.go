package policy

import "sync"

// object is something that changed.
type object struct {
	kind string // policy, pod or namespace
	at   Name
}

// queue collects what has changed, and who waits for that to be in the kernel, until the loop takes it: many events
// become one transaction.
type queue struct {
	mu      sync.Mutex
	objects map[object]bool
	waiting []chan struct{}
	signal  chan struct{} // holds a token while there is something to take
}

func newQueue() *queue {
	return &queue{objects: map[object]bool{}, signal: make(chan struct{}, 1)}
}

// add notes a change. A waiting channel is closed when the kernel has it.
func (q *queue) add(o object, waiting ...chan struct{}) {
	q.mu.Lock()
	q.objects[o] = true
	q.waiting = append(q.waiting, waiting...)
	q.mu.Unlock()
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

func (q *queue) take() ([]object, []chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]object, 0, len(q.objects))
	for o := range q.objects {
		out = append(out, o)
	}
	waiting := q.waiting
	clear(q.objects)
	q.waiting = nil
	return out, waiting
}
