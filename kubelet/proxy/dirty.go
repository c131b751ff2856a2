package proxy

import "sync"

// owner is what a plan is made for.
type owner struct {
	kind      string // service, pod or node
	namespace string
	name      string
}

func (o owner) String() string { return o.kind + "/" + o.namespace + "/" + o.name }

// dirtySet collects what has changed until the loop takes it: many events become one transaction.
type dirtySet struct {
	mu     sync.Mutex
	owners map[owner]bool
	signal chan struct{} // holds a token while the set isn't empty
}

func newDirtySet() *dirtySet {
	return &dirtySet{owners: map[owner]bool{}, signal: make(chan struct{}, 1)}
}

func (d *dirtySet) add(o owner) {
	d.mu.Lock()
	d.owners[o] = true
	d.mu.Unlock()
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

func (d *dirtySet) take() []owner {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]owner, 0, len(d.owners))
	for o := range d.owners {
		out = append(out, o)
	}
	clear(d.owners)
	return out
}
