package node

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// latest is the newest Node object known, from the watch or from an own write.
type latest struct {
	mu      sync.Mutex
	node    *corev1.Node
	changed chan struct{} // closed and replaced when node changes
}

func newLatest() *latest { return &latest{changed: make(chan struct{})} }

func (l *latest) get() *corev1.Node {
	node, _ := l.watch()
	return node
}

// watch answers the object and a channel that is closed once there is another.
func (l *latest) watch() (*corev1.Node, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node, l.changed
}

func (l *latest) set(node *corev1.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node = node
	close(l.changed)
	l.changed = make(chan struct{})
}

// observed takes an object of the watch or the answer to an own write, either of which may be older than the other.
func (l *latest) observed(node *corev1.Node) {
	current := l.get()
	if current != nil && current.UID == node.UID && newer(current.ResourceVersion, node.ResourceVersion) {
		return
	}
	l.set(node)
}

// newer compares resource versions, which the API defines as decimal numbers that grow.
func newer(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// nodeEvents follows this node among all nodes.
func (r *Reporter) nodeEvents() cache.ResourceEventHandler {
	take := func(obj any) {
		node, ok := obj.(*corev1.Node)
		if !ok || node.Name != r.config.Name {
			return
		}
		r.noteCordon(r.latest.get(), node)
		r.latest.observed(node)
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: take, UpdateFunc: func(_, obj any) { take(obj) }}
}

// noteCordon tells when somebody cordons or uncordons the node.
func (r *Reporter) noteCordon(before, after *corev1.Node) {
	if before == nil || before.UID != after.UID || before.Spec.Unschedulable == after.Spec.Unschedulable {
		return
	}
	reason := "NodeSchedulable"
	if after.Spec.Unschedulable {
		reason = "NodeNotSchedulable"
	}
	r.stateEvent(reason)
}
