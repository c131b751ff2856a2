package framework

import (
	"iter"
	"maps"
	"slices"
	"sync"
)

// Snapshot is the cluster one scheduling cycle decides on. It belongs to the scheduling loop; only the cache changes it,
// between cycles.
type Snapshot struct {
	nodes []*NodeInfo
	index map[string]int
	// affinity and anti count the nodes that hold pods with any affinity term, and with required anti-affinity.
	affinity, anti int
	imageNodes     map[string]int
	// kinds and topologies are nil until they are asked for.
	kinds podKinds

	topologyMu sync.Mutex
	topologies map[string]*Topology
}

// NewSnapshot makes a snapshot of the given nodes, in the order they are to be tried.
func NewSnapshot(nodes ...*NodeInfo) *Snapshot {
	s := &Snapshot{}
	s.Reset(nodes)
	return s
}

// Nodes lists the nodes in the order they are to be tried. Not to be changed.
func (s *Snapshot) Nodes() []*NodeInfo { return s.nodes }

// Node answers a node by name.
func (s *Snapshot) Node(name string) (*NodeInfo, bool) {
	i, ok := s.index[name]
	if !ok {
		return nil, false
	}
	return s.nodes[i], true
}

// HasAffinity reports whether any node holds a pod with an inter-pod affinity term.
func (s *Snapshot) HasAffinity() bool { return s.affinity > 0 }

// HasRequiredAntiAffinity reports whether any node holds a pod with required anti-affinity.
func (s *Snapshot) HasRequiredAntiAffinity() bool { return s.anti > 0 }

// Position answers where in Nodes a node is, false when it is not among them.
func (s *Snapshot) Position(name string) (int, bool) {
	i, ok := s.index[name]
	return i, ok
}

// Kinds answers the pods on all nodes by kind, in no order. The scheduling loop alone may call it, outside of Filter and
// Score: it is indexed when it is first asked for, and kept from then on.
func (s *Snapshot) Kinds() iter.Seq[*PodKind] {
	if s.kinds == nil {
		s.kinds = podKinds{}
		for i, n := range s.nodes {
			s.kinds.replace(int32(i), nil, n.Pods) //nolint:gosec // there are fewer nodes than that
		}
	}
	return maps.Values(s.kinds)
}

// Topology answers the domains of a topology key. It may be called side by side.
func (s *Snapshot) Topology(key string) *Topology {
	s.topologyMu.Lock()
	defer s.topologyMu.Unlock()
	t := s.topologies[key]
	if t == nil {
		if s.topologies == nil {
			s.topologies = map[string]*Topology{}
		}
		t = newTopology(s.nodes, key)
		s.topologies[key] = t
	}
	return t
}

// ClaimUsed reports whether a placed pod names the persistent volume claim.
func (s *Snapshot) ClaimUsed(namespace, name string) bool {
	for _, n := range s.nodes {
		for _, pod := range n.PodsWithClaims {
			if pod.Pod.Namespace == namespace && slices.Contains(pod.Claims, name) {
				return true
			}
		}
	}
	return false
}

// ImageNodes answers how many nodes hold the image.
func (s *Snapshot) ImageNodes(image string) int { return s.imageNodes[image] }

// SetImageNodes replaces the image counts; the map must not change afterwards.
func (s *Snapshot) SetImageNodes(counts map[string]int) { s.imageNodes = counts }

// Reset replaces all nodes.
func (s *Snapshot) Reset(nodes []*NodeInfo) {
	s.nodes, s.kinds, s.topologies = nodes, nil, nil
	s.index = make(map[string]int, len(nodes))
	s.affinity, s.anti = 0, 0
	for i, n := range nodes {
		s.index[n.Name()] = i
		s.countAffinity(n, 1)
	}
}

// Replace puts a newer version of a node the snapshot already has; false when it has none.
func (s *Snapshot) Replace(name string, node *NodeInfo) bool {
	i, ok := s.index[name]
	if !ok {
		return false
	}
	s.countAffinity(s.nodes[i], -1)
	s.countAffinity(node, 1)
	s.reindex(i, node)
	s.nodes[i] = node
	return true
}

// reindex brings what was asked for before up to date with a newer version of the i-th node.
func (s *Snapshot) reindex(i int, node *NodeInfo) {
	before := s.nodes[i]
	if s.kinds != nil {
		s.kinds.replace(int32(i), before.Pods, node.Pods) //nolint:gosec // there are fewer nodes than that
	}
	if before.Node == node.Node {
		return
	}
	for key := range s.topologies {
		old, had := before.Node.Labels[key]
		if now, has := node.Node.Labels[key]; old != now || had != has {
			delete(s.topologies, key)
		}
	}
}

// Clone answers an independent snapshot sharing the immutable nodes.
func (s *Snapshot) Clone() *Snapshot {
	c := NewSnapshot(append([]*NodeInfo(nil), s.nodes...)...)
	c.imageNodes = maps.Clone(s.imageNodes)
	return c
}

func (s *Snapshot) countAffinity(node *NodeInfo, n int) {
	if len(node.PodsWithAffinity) > 0 {
		s.affinity += n
	}
	if len(node.PodsWithRequiredAntiAffinity) > 0 {
		s.anti += n
	}
}
