package policy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/kubelet/nft"
)

// Book is what the node knows of policies, pods and namespaces, and what follows from it for the kernel. It is a pure
// function of what it was told, kept up to date at the cost of what changed.
type Book struct {
	node     string
	families []nft.Family

	policies   map[string]map[string]*policy // by namespace and name
	pods       map[string]map[string]*pod    // by namespace and name
	namespaces map[string]labels.Set
	holders    map[netip.Addr][]Name // pods that claim an address; nearly always one

	elements *nft.State[Value]
	objects  *objects
}

// NewBook makes the book of a node that knows nothing yet.
func NewBook(node string, families []nft.Family) *Book {
	return &Book{
		node: node, families: families, policies: map[string]map[string]*policy{}, pods: map[string]map[string]*pod{},
		namespaces: map[string]labels.Set{}, holders: map[netip.Addr][]Name{},
		elements: nft.NewState[Value](), objects: newObjects(),
	}
}

// SetPolicy tells of a policy; nil if there is none of the name.
func (b *Book) SetPolicy(at Name, p *networkingv1.NetworkPolicy) {
	before := b.policies[at.Namespace][at.Name]
	var now *policy
	if p != nil {
		now = compile(p)
	}
	if (before == nil) == (now == nil) && (now == nil || before.text == now.text) {
		return
	}
	put(b.policies, at, now)
	for name, pod := range b.pods[at.Namespace] {
		if pod.here && ((before != nil && before.selects(at.Namespace, pod.labels)) || (now != nil && now.selects(at.Namespace, pod.labels))) {
			b.isolate(Name{at.Namespace, name})
		}
	}
}

// SetNamespace tells of a namespace's labels; nil if there is none of the name.
func (b *Book) SetNamespace(name string, n *corev1.Namespace) {
	before, known := b.namespaces[name]
	if n == nil {
		delete(b.namespaces, name)
	} else {
		b.namespaces[name] = present(n.Labels)
	}
	if known == (n != nil) && (n == nil || labels.Equals(before, n.Labels)) {
		return
	}
	for pod := range b.pods[name] {
		b.join(Name{name, pod})
	}
}

// present is the labels, not nil: a namespace without labels is a namespace.
func present(l labels.Set) labels.Set {
	if l == nil {
		return labels.Set{}
	}
	return l
}

// SetPod tells of a pod, nil if there is none of the name, and of the addresses that the node gave it, if it did.
func (b *Book) SetPod(at Name, p *corev1.Pod, l *lease) {
	before, now := b.pods[at.Namespace][at.Name], newPod(p, b.node, l)
	if before.same(now) {
		return
	}
	var touched []netip.Addr
	if before != nil {
		touched = append(touched, before.addrs...)
	}
	if now != nil {
		touched = append(touched, now.addrs...)
		if before != nil {
			now.chains = before.chains
		}
	} else if before != nil {
		b.objects.drop(b, before.chains)
	}
	put(b.pods, at, now)
	others := b.claim(at, touched, now)
	for _, other := range append(others, at) {
		b.join(other)
		b.isolate(other)
	}
}

// claim notes which addresses the pod has now, and answers the other pods that claim any of them.
func (b *Book) claim(at Name, touched []netip.Addr, now *pod) (others []Name) {
	for _, a := range touched {
		rest := slices.DeleteFunc(slices.Clone(b.holders[a]), func(n Name) bool { return n == at })
		others = append(others, rest...)
		if now != nil && slices.Contains(now.addrs, a) {
			rest = append(rest, at)
		}
		if len(rest) == 0 {
			delete(b.holders, a)
		} else {
			b.holders[a] = rest
		}
	}
	return others
}

// pod answers nil if there is none.
func (b *Book) pod(at Name) *pod { return b.pods[at.Namespace][at.Name] }

// held lists the pod's addresses of families that the node knows, but for those that another pod has by now.
func (b *Book) held(at Name) []netip.Addr {
	p := b.pod(at)
	if p == nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range p.addrs {
		newer := func(n Name) bool { return n != at && b.pod(n).newer(p) }
		if slices.Contains(b.families, familyOf(a)) && !slices.ContainsFunc(b.holders[a], newer) {
			out = append(out, a)
		}
	}
	return out
}

// isolate plans the pod's own chains, if it is on this node and policies select it.
func (b *Book) isolate(at Name) {
	p := b.pod(at)
	var plan []Element
	var chains []Chain
	if p != nil && p.here {
		plan, chains = b.isolation(at, p)
	}
	b.elements.Put("isolated "+at.Namespace+"/"+at.Name, plan)
	if p != nil {
		p.chains = b.objects.swap(b, p.chains, chains, plan)
	}
}

// isolation answers the pod's elements and, for each that leads to one, the chain: the first len(chains) elements do.
func (b *Book) isolation(at Name, p *pod) (plan []Element, chains []Chain) {
	held := b.held(at)
	var guarded []Element
	for d := range directions {
		isolated := false
		var allows []allow
		for _, policy := range b.policies[at.Namespace] {
			if policy.isolates[d] && policy.selects(at.Namespace, p.labels) {
				isolated = true
				allows = append(allows, policy.allows[d]...)
			}
		}
		if !isolated {
			continue
		}
		for _, a := range held {
			chain := newChain(d, familyOf(a), allows)
			plan = append(plan, Element{
				ID:    nft.ElementID{Family: familyOf(a), Map: d.verdicts(), Key: string(nft.Key(nil).Addr(a))},
				Value: Value{Chain: chain.Name},
			})
			chains = append(chains, chain)
			if d == ingress {
				guarded = append(guarded, Element{ID: nft.ElementID{Family: familyOf(a), Map: Guarded, Key: string(nft.Key(nil).Addr(familyOf(a).Zero()))}})
			}
		}
	}
	if len(plan) > 0 {
		for _, a := range held {
			plan = append(plan, Element{ID: nft.ElementID{Family: familyOf(a), Map: Self, Key: string(nft.Key(nil).Addr(a).Addr(a))}})
		}
	}
	return append(plan, guarded...), chains
}

// join puts the pod into the sets in use that it belongs to, and out of the others.
func (b *Book) join(at Name) {
	held, p := b.held(at), b.pod(at)
	for id, use := range b.objects.sets {
		b.member(id, use.Object, at, p, held)
	}
}

// populate fills a set that came into use.
func (b *Book) populate(id setID, set Set) {
	b.each(set, func(at Name, p *pod) { b.member(id, set, at, p, b.held(at)) })
}

// clear empties a set that nobody uses any more.
func (b *Book) clear(id setID, set Set) {
	b.each(set, func(at Name, _ *pod) { b.elements.Put(owner(id, at), nil) })
}

// each visits all pods for a set that is about pods.
func (b *Book) each(set Set, visit func(Name, *pod)) {
	if set.group == nil && set.named == nil {
		return
	}
	for namespace, pods := range b.pods {
		for name, p := range pods {
			visit(Name{namespace, name}, p)
		}
	}
}

// owner is who the elements are planned for: the pod as a member of the set.
func owner(id setID, at Name) string {
	return string(rune('0'+id.family)) + string(id.name) + " " + at.Namespace + "/" + at.Name
}

// member plans a pod's elements of a set.
func (b *Book) member(id setID, set Set, at Name, p *pod, held []netip.Addr) {
	if set.group == nil && set.named == nil {
		return
	}
	var plan []Element
	if p != nil {
		for _, key := range b.keys(set, at, p, id.family, held) {
			plan = append(plan, Element{ID: nft.ElementID{Family: id.family, Map: id.name, Key: string(key)}})
		}
	}
	b.elements.Put(owner(id, at), plan)
}

func (b *Book) keys(set Set, at Name, p *pod, f nft.Family, held []netip.Addr) (out []nft.Key) {
	if set.group != nil && !set.group.has(at.Namespace, b.namespaces[at.Namespace], p.labels) || set.here && !p.here {
		return nil
	}
	for _, a := range held {
		if familyOf(a) != f {
			continue
		}
		if set.group != nil {
			out = append(out, nft.Key(nil).Addr(a))
			continue
		}
		for _, port := range p.ports {
			if port.namedPort == *set.named {
				out = append(out, nft.Key(nil).Addr(a).Proto(port.proto).Port(port.number))
			}
		}
	}
	return out
}

// put sets or, with nil, removes a value.
func put[V any](m map[string]map[string]*V, at Name, v *V) {
	switch {
	case v != nil && m[at.Namespace] == nil:
		m[at.Namespace] = map[string]*V{at.Name: v}
	case v != nil:
		m[at.Namespace][at.Name] = v
	default:
		delete(m[at.Namespace], at.Name)
		if len(m[at.Namespace]) == 0 {
			delete(m, at.Namespace)
		}
	}
}
