package ingress

import (
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/ingress/route"
)

// changes collects what changed since the routes were last compiled. Most Services and Secrets are of no interest; which
// are is known only after compiling, so that what changes meanwhile is judged by what was found out then.
type changes struct {
	signal chan struct{} // holds one when there is something to take

	mu         sync.Mutex
	everything bool
	touched    map[route.Reference]bool
}

func newChanges() *changes {
	return &changes{signal: make(chan struct{}, 1), touched: map[route.Reference]bool{}}
}

// all has the routes compiled in any case.
func (c *changes) all() {
	c.mu.Lock()
	c.everything = true
	c.mu.Unlock()
	c.wake()
}

func (c *changes) touch(kind, namespace, name string) {
	c.mu.Lock()
	c.touched[route.Reference{Kind: kind, NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}] = true
	c.mu.Unlock()
	c.wake()
}

func (c *changes) service(object any) { c.named("Service", object) }

func (c *changes) secret(object any) { c.named("Secret", object) }

func (c *changes) named(kind string, object any) {
	if m, ok := object.(metav1.Object); ok {
		c.touch(kind, m.GetNamespace(), m.GetName())
	}
}

// slice touches the Service that it belongs to.
func (c *changes) slice(object any) {
	if s, ok := object.(*discoveryv1.EndpointSlice); ok {
		c.touch("Service", s.Namespace, s.Labels[discoveryv1.LabelServiceName])
	}
}

func (c *changes) wake() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// take answers whether something changed that is used, and starts over.
func (c *changes) take(uses map[route.Reference]bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.everything
	for r := range c.touched {
		changed = changed || uses[r]
	}
	c.everything = false
	clear(c.touched)
	return changed
}
