// Package cache is the scheduler's picture of the cluster: which pods sit on which nodes, including the pods it has just
// decided on ("assumed") and whose binding the API has not confirmed yet.
//
// Every version of a node is an immutable framework.NodeInfo. Bringing the snapshot up to date is therefore a matter of
// swapping pointers of the nodes that changed since the last cycle; nothing is copied.
//
// The state of a pod:
//
//	          Assume                SetPod
//	unknown ----------> assumed ------------> confirmed
//	   ^                   | Forget, RemovePod    | RemovePod
//	   '-------------------'----------------------'
//
// Calls are level-triggered: SetPod and SetNode say what is, whatever was known before.
package cache

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/scheduler/framework"
)

// Cache is safe for concurrent use; the snapshot it hands out belongs to the scheduling loop.
type Cache struct {
	mu         sync.Mutex
	nodes      map[string]*framework.NodeInfo
	pods       map[types.UID]placement
	assumed    int
	generation int64
	dirty      map[string]struct{}
	order      nodeOrder
	images     imageCounts
	snapshot   *framework.Snapshot
}

type placement struct {
	pod     *framework.PodInfo
	node    string
	assumed bool
}

// New makes an empty cache.
func New() *Cache {
	return &Cache{
		nodes:    map[string]*framework.NodeInfo{},
		pods:     map[types.UID]placement{},
		dirty:    map[string]struct{}{},
		images:   imageCounts{counts: map[string]int{}},
		snapshot: framework.NewSnapshot(),
	}
}

// Assume places a pod the scheduler decided on, before the API knows. It fails for a pod that is placed already and for
// a node that is gone.
func (c *Cache) Assume(pod *framework.PodInfo, node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pods[pod.Pod.UID]; ok {
		return fmt.Errorf("pod %s/%s is placed on node %q already", pod.Pod.Namespace, pod.Pod.Name, p.node)
	}
	if c.node(node).Node == nil {
		return fmt.Errorf("node %q is gone", node)
	}
	c.place(placement{pod: pod, node: node, assumed: true})
	return nil
}

// Forget takes back an assumption; a pod the API has confirmed meanwhile stays.
func (c *Cache) Forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[uid].assumed {
		c.unplace(uid)
	}
}

// SetPod records a pod the API says is on pod.Spec.NodeName.
func (c *Cache) SetPod(pod *framework.PodInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unplace(pod.Pod.UID)
	c.place(placement{pod: pod, node: pod.Pod.Spec.NodeName})
}

// RemovePod removes a pod that is gone or has ended, assumed or not. Removing an unknown pod does nothing.
func (c *Cache) RemovePod(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unplace(uid)
}

// Placed answers the node a pod is on and whether that is only assumed.
func (c *Cache) Placed(uid types.UID) (node string, assumed, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[uid]
	return p.node, p.assumed, ok
}

// Pod answers the view of a placed pod, nil when it isn't known.
func (c *Cache) Pod(uid types.UID) *framework.PodInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[uid].pod
}

// SetNode adds or updates a node.
func (c *Cache) SetNode(node *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.node(node.Name)
	after := before.WithNode(node)
	c.images.replace(before.Images, after.Images)
	c.order.set(node)
	c.put(node.Name, after)
}

// RemoveNode removes a node. Pods still known on it stay known until they are removed themselves.
func (c *Cache) RemoveNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, ok := c.nodes[name]
	if !ok {
		return
	}
	c.images.replace(before.Images, nil)
	c.order.remove(name)
	c.put(name, before.WithNode(nil))
}

// Snapshot brings the snapshot up to date and answers it. Only the scheduling loop may call this.
func (c *Cache) Snapshot() *framework.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if names, changed := c.order.list(); changed {
		nodes := make([]*framework.NodeInfo, 0, len(names))
		for _, name := range names {
			nodes = append(nodes, c.nodes[name])
		}
		c.snapshot.Reset(nodes)
	} else {
		for name := range c.dirty {
			if node, ok := c.nodes[name]; ok && node.Node != nil {
				c.snapshot.Replace(name, node)
			}
		}
	}
	clear(c.dirty)
	if counts, changed := c.images.publish(); changed {
		c.snapshot.SetImageNodes(counts)
	}
	return c.snapshot
}

// Size counts what the cache knows, for metrics.
type Size struct {
	Nodes, Pods, AssumedPods int
}

// Size answers the counts.
func (c *Cache) Size() Size {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Size{Nodes: len(c.order.zoneOf), Pods: len(c.pods), AssumedPods: c.assumed}
}

func (c *Cache) place(p placement) {
	c.pods[p.pod.Pod.UID] = p
	if p.assumed {
		c.assumed++
	}
	c.put(p.node, c.node(p.node).WithPod(p.pod))
}

func (c *Cache) unplace(uid types.UID) {
	p, ok := c.pods[uid]
	if !ok {
		return
	}
	delete(c.pods, uid)
	if p.assumed {
		c.assumed--
	}
	c.put(p.node, c.node(p.node).WithoutPod(uid))
}

func (c *Cache) node(name string) *framework.NodeInfo {
	if n, ok := c.nodes[name]; ok {
		return n
	}
	return &framework.NodeInfo{}
}

// put stores a new version, or drops the entry when neither node nor pods are left.
func (c *Cache) put(name string, node *framework.NodeInfo) {
	if node.Node == nil && len(node.Pods) == 0 {
		delete(c.nodes, name)
		return
	}
	c.generation++
	node.Generation = c.generation
	c.nodes[name] = node
	c.dirty[name] = struct{}{}
}
