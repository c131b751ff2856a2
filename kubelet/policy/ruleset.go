package policy

import (
	"net/netip"
	"slices"
	"strings"

	"skiff/kubelet/nft"
)

// The sets and maps that are always there.
const (
	Ingress nft.SetName = "ingress" // address of an isolated pod -> chain of what it may receive
	Egress  nft.SetName = "egress"  // address of an isolated pod -> chain of what it may send
	Self    nft.SetName = "self"    // address of an isolated pod, same address

	Guarded nft.SetName = "guarded" // the unspecified address, if there is an isolated pod that may not receive everything

	LinkLocal nft.SetName = "link-local" // prefixes: addresses that no policy is about
)

// The prefixes of the names of sets that come and go.
const (
	podsPrefix   = "pods-"
	blocksPrefix = "blocks-"
	portsPrefix  = "ports-"
	namedPrefix  = "named-"
)

// baseSets lists the sets that are always there.
func baseSets() []nft.Set {
	return []nft.Set{
		{Name: Ingress, Fields: []nft.Field{nft.DstAddr}, Verdict: true},
		{Name: Egress, Fields: []nft.Field{nft.SrcAddr}, Verdict: true},
		{Name: Self, Fields: []nft.Field{nft.SrcAddr, nft.DstAddr}},
		{Name: Guarded, Fields: []nft.Field{nft.AnyAddr}},
		{Name: LinkLocal, Fields: []nft.Field{nft.SrcAddr}, Interval: true},
	}
}

// linkLocal is the content of LinkLocal. IPv4's link-local addresses aren't the pods' by themselves.
func linkLocal() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("fe80::/10")} }

// ranged tells the sets whose keys are ranges.
func ranged(name nft.SetName) bool { return strings.HasPrefix(string(name), portsPrefix) }

// forward is the chain that every forwarded packet meets. link is the pods' bridge, if there is one.
func forward(f nft.Family, link string) nft.Chain {
	rules := []nft.Rule{{nft.Is{Cond: nft.Known}, nft.End{Kind: nft.Accept}}}
	if f == nft.IPv6 {
		rules = append(rules, nft.Rule{nft.Is{Cond: nft.Neighbour}, nft.End{Kind: nft.Accept}})
	}
	if f == nft.IPv6 && link != "" {
		rules = append(rules, nft.Rule{nft.From{Link: link}, nft.Match{Fields: []nft.Field{nft.SrcAddr}, Set: LinkLocal}, nft.End{Kind: nft.Drop}})
	}
	if link != "" {
		rules = append(rules, nft.Rule{
			nft.From{Link: link}, nft.Is{Cond: nft.ToMany}, nft.Match{Fields: []nft.Field{nft.AnyAddr}, Set: Guarded}, nft.End{Kind: nft.Drop},
		})
	}
	return nft.Chain{Name: "forward", Hook: nft.Forward, Rules: append(rules,
		nft.Rule{nft.Match{Fields: []nft.Field{nft.SrcAddr, nft.DstAddr}, Set: Self}, nft.End{Kind: nft.Accept}},
		nft.Rule{nft.Branch{Fields: []nft.Field{nft.SrcAddr}, Map: Egress}},
		nft.Rule{nft.Branch{Fields: []nft.Field{nft.DstAddr}, Map: Ingress}},
	)}
}

// verdicts is the map with the isolated pods of a direction.
func (d direction) verdicts() nft.SetName {
	return [...]nft.SetName{ingress: Ingress, egress: Egress}[d]
}

// Value is what a map has for a key: the chain to jump to. Elements of sets have the zero Value.
type Value struct{ Chain string }

// Data is the value as the kernel knows it.
func (v Value) Data() nft.Data {
	if v.Chain == "" {
		return nft.Data{}
	}
	return nft.Data{Verdict: nft.Jump, Chain: v.Chain}
}

// Element is one element of a set or map.
type Element = nft.Element[Value]

// Set is a set that rules look peers or ports up in. What it has is either known from its name on (Prefixes, Elements),
// or the pods of a group, or pods' ports of a name.
type Set struct {
	nft.Set
	Prefixes []netip.Prefix
	Elements []Element
	group    group
	named    *namedPort
	here     bool // of the ports of a name: of this node's pods only
}

// Chain is what the policies of a pod allow in one direction, and the sets that its rules use.
type Chain struct {
	nft.Chain
	Sets []Set
}

// newChain makes the chain of everything that the rules allow. Rules that can't allow anything in this family are left out.
func newChain(d direction, f nft.Family, all []allow) Chain {
	sets := map[nft.SetName]Set{}
	rules := map[string]nft.Rule{}
	for _, a := range all {
		for _, from := range a.peerSets(f) {
			for _, to := range a.portSets(f) {
				var rule nft.Rule
				if from.Name != "" {
					rule = append(rule, nft.Match{Fields: []nft.Field{d.peer()}, Set: from.Name})
					sets[from.Name] = from
				}
				if to.Name != "" {
					rule = append(rule, nft.Match{Fields: to.Fields, Set: to.Name})
					sets[to.Name] = to
				}
				rule = append(rule, nft.End{Kind: nft.Return})
				rules[rule.String()] = rule
			}
		}
	}
	var out Chain
	texts := sorted(rules)
	for _, text := range texts {
		out.Rules = append(out.Rules, rules[text])
	}
	out.Rules = append(out.Rules, nft.Rule{nft.End{Kind: nft.Drop}})
	out.Name = d.prefix() + hash(strings.Join(texts, "\n"))
	for _, name := range sorted(sets) {
		out.Sets = append(out.Sets, sets[name])
	}
	return out
}

// peerSets lists the sets of which one must have the peer; one without a name stands for everybody.
func (a allow) peerSets(f nft.Family) []Set {
	if a.peers.any {
		return []Set{{}}
	}
	var out []Set
	if len(a.peers.pods) > 0 {
		out = append(out, Set{
			Set:   nft.Set{Name: nft.SetName(podsPrefix + hash(a.peers.pods.text())), Fields: []nft.Field{nft.SrcAddr}},
			group: a.peers.pods,
		})
	}
	if blocks := a.peers.blocksOf(f); len(blocks) > 0 {
		var text []string
		for _, b := range blocks {
			text = append(text, b.String())
		}
		slices.Sort(text)
		out = append(out, Set{
			Set:      nft.Set{Name: nft.SetName(blocksPrefix + hash(strings.Join(text, " "))), Fields: []nft.Field{nft.SrcAddr}, Interval: true},
			Prefixes: blocks,
		})
	}
	return out
}

// portSets lists the sets of which one must have the port; one without a name stands for all ports of all protocols. A
// named port is the destination's, whoever that is.
func (a allow) portSets(f nft.Family) []Set {
	if a.ports.any {
		return []Set{{}}
	}
	var out []Set
	if len(a.ports.fixed) > 0 {
		set := Set{Set: nft.Set{
			Name: nft.SetName(portsPrefix + hash(ports{fixed: a.ports.fixed}.text())), Fields: []nft.Field{nft.Proto, nft.DstPort}, Interval: true,
		}}
		for _, r := range a.ports.fixed {
			key := string(nft.Key(nil).Proto(r.proto).Port(r.first)) + string(nft.Key(nil).Proto(r.proto).Port(r.last))
			set.Elements = append(set.Elements, Element{ID: nft.ElementID{Family: f, Map: set.Name, Key: key}})
		}
		out = append(out, set)
	}
	for _, n := range a.ports.named {
		here, text := a.direction == ingress, n.text()
		if here {
			text += " here"
		}
		out = append(out, Set{
			Set:   nft.Set{Name: nft.SetName(namedPrefix + hash(text)), Fields: []nft.Field{nft.DstAddr, nft.Proto, nft.DstPort}},
			named: &n, here: here,
		})
	}
	return out
}

// sorted lists the keys in order.
func sorted[K ~string, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
