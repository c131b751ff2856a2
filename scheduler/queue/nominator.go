package queue

import (
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/scheduler/framework"
)

// Nominator remembers which pods were promised which node, until they are placed or gone. Filters count promised pods
// as if they were there. Safe for concurrent use.
type Nominator struct {
	count  atomic.Int64
	mu     sync.RWMutex
	nodeOf map[types.UID]string
	byNode map[string][]*framework.PodInfo
}

// NewNominator makes an empty one.
func NewNominator() *Nominator {
	return &Nominator{nodeOf: map[types.UID]string{}, byNode: map[string][]*framework.PodInfo{}}
}

// Nominate promises a pod a node, replacing an earlier promise; "" takes the promise back.
func (n *Nominator) Nominate(pod *framework.PodInfo, node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(pod.Pod.UID)
	if node == "" {
		return
	}
	n.nodeOf[pod.Pod.UID] = node
	n.byNode[node] = append(slices.Clone(n.byNode[node]), pod)
	n.count.Store(int64(len(n.nodeOf)))
}

// Refresh takes over a new version of a pod. A promise the API doesn't show yet is kept; otherwise the API's word counts.
func (n *Nominator) Refresh(before, after *corev1.Pod, info *framework.PodInfo) {
	node := after.Status.NominatedNodeName
	if node == "" && (before == nil || before.Status.NominatedNodeName == "") {
		node = n.Node(after.UID)
	}
	n.Nominate(info, node)
}

// Remove forgets a pod.
func (n *Nominator) Remove(uid types.UID) {
	if n.count.Load() == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(uid)
}

// Empty reports whether no pod was promised a node.
func (n *Nominator) Empty() bool { return n.count.Load() == 0 }

// NominatedPods lists the pods promised the node. Not to be changed.
func (n *Nominator) NominatedPods(node string) []*framework.PodInfo {
	if n.count.Load() == 0 {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byNode[node]
}

// Node answers the node a pod was promised, "" if none.
func (n *Nominator) Node(uid types.UID) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.nodeOf[uid]
}

func (n *Nominator) remove(uid types.UID) {
	node, ok := n.nodeOf[uid]
	if !ok {
		return
	}
	delete(n.nodeOf, uid)
	left := slices.DeleteFunc(slices.Clone(n.byNode[node]), func(p *framework.PodInfo) bool { return p.Pod.UID == uid })
	if len(left) == 0 {
		delete(n.byNode, node)
	} else {
		n.byNode[node] = left
	}
	n.count.Store(int64(len(n.nodeOf)))
}
