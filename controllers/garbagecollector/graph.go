package garbagecollector

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ref is the identity of an object as owner references know it.
type Ref struct {
	APIVersion, Kind, Namespace, Name string
	UID                               types.UID
}

// Node is what the graph knows of one object.
type Node struct {
	Ref
	Owners []metav1.OwnerReference
	// Virtual says that the object was named as an owner but never seen.
	Virtual bool
	// Deleting says that the object is terminating; Foreground that it waits for the dependents that block it;
	// Orphaning that its dependents are to be let go first.
	Deleting, Foreground, Orphaning bool

	dependents map[types.UID]*Node
}

// Graph is who owns whom, over all kinds. It is not safe for concurrent use. Every change answers the objects whose
// fate it may have decided.
type Graph struct {
	nodes map[types.UID]*Node
}

// NewGraph answers an empty graph.
func NewGraph() *Graph { return &Graph{nodes: map[types.UID]*Node{}} }

// Observe notes an object as it is now.
func (g *Graph) Observe(ref Ref, o metav1.Object) []types.UID {
	n, known := g.nodes[ref.UID]
	if !known {
		n = &Node{Ref: ref, dependents: map[types.UID]*Node{}}
		g.nodes[ref.UID] = n
	}
	wasForeground, wasOrphaning := n.Foreground, n.Orphaning
	var concerned []types.UID
	if n.Virtual && n.Ref != ref {
		concerned = append(concerned, g.misnamed(n, ref)...)
	}
	n.Ref, n.Virtual = ref, false
	taken := slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return owned(n.Owners, r.UID) })
	concerned = append(concerned, g.setOwners(n, o.GetOwnerReferences())...)
	n.Deleting = o.GetDeletionTimestamp() != nil
	n.Foreground = n.Deleting && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents)
	n.Orphaning = n.Deleting && slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents)
	if n.Foreground && !wasForeground {
		concerned = append(append(concerned, n.UID), g.dependentIDs(n)...)
	}
	if n.Orphaning && !wasOrphaning {
		concerned = append(concerned, n.UID)
	}
	if slices.ContainsFunc(taken, func(r metav1.OwnerReference) bool { return g.doubtful(n, r) }) {
		concerned = append(concerned, n.UID)
	}
	return concerned
}

func owned(refs []metav1.OwnerReference, by types.UID) bool {
	return slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool { return r.UID == by })
}

// doubtful answers whether an owner that the object names may be none: it may have gone before it was seen, is going, or
// is another than the reference says.
func (g *Graph) doubtful(n *Node, r metav1.OwnerReference) bool {
	owner := g.nodes[r.UID]
	return owner == nil || owner.Virtual || owner.Foreground || !names(r, n.Namespace, owner.Ref)
}

// misnamed answers the dependents that named the owner by other coordinates than its own: to them it is absent.
func (g *Graph) misnamed(n *Node, actual Ref) []types.UID {
	var lost []types.UID
	for _, d := range g.sorted(n) {
		for _, o := range d.Owners {
			if o.UID == n.UID && !names(o, d.Namespace, actual) {
				lost = append(lost, d.UID)
			}
		}
	}
	return lost
}

// setOwners moves the node among its owners' dependents. Owners that it no longer blocks are concerned.
func (g *Graph) setOwners(n *Node, owners []metav1.OwnerReference) []types.UID {
	var concerned []types.UID
	for _, old := range n.Owners {
		i := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool { return o.UID == old.UID })
		if i < 0 {
			g.unlink(n, old.UID)
		}
		if blocks(old) && (i < 0 || !blocks(owners[i])) {
			if owner := g.nodes[old.UID]; owner != nil && owner.Foreground {
				concerned = append(concerned, old.UID)
			}
		}
	}
	for _, o := range owners {
		owner, ok := g.nodes[o.UID]
		if !ok { // to be looked up: it may not exist
			owner = &Node{
				Ref:     Ref{o.APIVersion, o.Kind, n.Namespace, o.Name, o.UID},
				Virtual: true, dependents: map[types.UID]*Node{},
			}
			g.nodes[o.UID] = owner
		}
		owner.dependents[n.UID] = n
	}
	n.Owners = slices.Clone(owners)
	return concerned
}

func (g *Graph) unlink(n *Node, owner types.UID) {
	o, ok := g.nodes[owner]
	if !ok {
		return
	}
	delete(o.dependents, n.UID)
	if o.Virtual && len(o.dependents) == 0 {
		delete(g.nodes, owner)
	}
}

// Forget notes that an object is gone. Its dependents are concerned, and the owners that waited for it.
func (g *Graph) Forget(uid types.UID) []types.UID {
	n, ok := g.nodes[uid]
	if !ok {
		return nil
	}
	delete(g.nodes, uid)
	delete(n.dependents, uid) // it may name itself
	concerned := g.dependentIDs(n)
	for _, o := range n.Owners {
		g.unlink(n, o.UID)
		if owner := g.nodes[o.UID]; owner != nil && owner.Foreground {
			concerned = append(concerned, o.UID)
		}
	}
	if len(n.dependents) > 0 { // keep who named it until they are dealt with
		n.Virtual, n.Owners = true, nil
		n.Deleting, n.Foreground, n.Orphaning = false, false, false
		g.nodes[uid] = n
	}
	return concerned
}

// Get answers a copy of the node.
func (g *Graph) Get(uid types.UID) (Node, bool) {
	n, ok := g.nodes[uid]
	if !ok {
		return Node{}, false
	}
	c := *n
	c.dependents = nil
	return c, true
}

// Dependents answers copies of the object's dependents, in the order of their UIDs.
func (g *Graph) Dependents(uid types.UID) []Node {
	n, ok := g.nodes[uid]
	if !ok {
		return nil
	}
	var all []Node
	for _, d := range g.sorted(n) {
		c := *d
		c.dependents = nil
		all = append(all, c)
	}
	return all
}

// Of answers the UIDs of the known objects of one kind.
func (g *Graph) Of(apiVersion, kind string) []types.UID {
	var all []types.UID
	for uid, n := range g.nodes {
		if !n.Virtual && n.APIVersion == apiVersion && n.Kind == kind {
			all = append(all, uid)
		}
	}
	return all
}

func (g *Graph) sorted(n *Node) []*Node {
	var all []*Node
	for _, uid := range slices.Sorted(maps.Keys(n.dependents)) {
		all = append(all, n.dependents[uid])
	}
	return all
}

func (g *Graph) dependentIDs(n *Node) []types.UID { return slices.Sorted(maps.Keys(n.dependents)) }

func blocks(o metav1.OwnerReference) bool {
	return o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion
}

// BlockedBy answers whether the dependent keeps the owner from ending.
func (n Node) BlockedBy(dependent Node) bool {
	return slices.ContainsFunc(dependent.Owners, func(o metav1.OwnerReference) bool { return o.UID == n.UID && blocks(o) })
}
