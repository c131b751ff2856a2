package framework

import (
	"maps"
	"slices"
)

// Snapshot is the cluster one scheduling cycle decides on. It belongs to the scheduling loop; only the cache changes it,
// between cycles.
type Snapshot struct {
	nodes          []*NodeInfo
	index          map[string]int
	affinity, anti []*NodeInfo
	imageNodes     map[string]int
	listsStale     bool
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

// WithAffinity lists the nodes that hold pods with any inter-pod affinity term.
func (s *Snapshot) WithAffinity() []*NodeInfo {
	s.refreshLists()
	return s.affinity
}

// WithRequiredAntiAffinity lists the nodes that hold pods with required anti-affinity.
func (s *Snapshot) WithRequiredAntiAffinity() []*NodeInfo {
	s.refreshLists()
	return s.anti
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
	s.nodes = nodes
	s.index = make(map[string]int, len(nodes))
	for i, n := range nodes {
		s.index[n.Name()] = i
	}
	s.listsStale = true
}

// Replace puts a newer version of a node the snapshot already has; false when it has none.
func (s *Snapshot) Replace(name string, node *NodeInfo) bool {
	i, ok := s.index[name]
	if !ok {
		return false
	}
	if len(s.nodes[i].PodsWithAffinity)+len(node.PodsWithAffinity) > 0 {
		s.listsStale = true
	}
	s.nodes[i] = node
	return true
}

// Clone answers an independent snapshot sharing the immutable nodes.
func (s *Snapshot) Clone() *Snapshot {
	c := NewSnapshot(append([]*NodeInfo(nil), s.nodes...)...)
	c.imageNodes = maps.Clone(s.imageNodes)
	return c
}

func (s *Snapshot) refreshLists() {
	if !s.listsStale {
		return
	}
	s.listsStale = false
	s.affinity, s.anti = s.affinity[:0], s.anti[:0]
	for _, n := range s.nodes {
		if len(n.PodsWithAffinity) > 0 {
			s.affinity = append(s.affinity, n)
		}
		if len(n.PodsWithRequiredAntiAffinity) > 0 {
			s.anti = append(s.anti, n)
		}
	}
}
