package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/kubelet/nft"
)

// direction is which connections a rule is about, seen from the selected pods.
type direction uint8

const (
	ingress direction = iota
	egress
	directions // how many there are
)

// peer is the field of a packet that has the other side's address.
func (d direction) peer() nft.Field {
	if d == ingress {
		return nft.SrcAddr
	}
	return nft.DstAddr
}

// prefix begins the names of the direction's chains.
func (d direction) prefix() string { return [...]string{ingress: "in-", egress: "out-"}[d] }

// policy is a NetworkPolicy ready to be used.
type policy struct {
	namespace string
	pods      labels.Selector
	isolates  [directions]bool
	allows    [directions][]allow
	text      string // the same for policies that mean the same
}

// allow is a rule of a policy: what is from (or to) any of the peers and to any of the ports.
type allow struct {
	direction direction
	peers     peers
	ports     ports
}

// compile prepares a policy. Selectors that can't be parsed select nothing: the API accepts none.
func compile(p *networkingv1.NetworkPolicy) *policy {
	out := &policy{namespace: p.Namespace, pods: selector(&p.Spec.PodSelector)}
	out.isolates[ingress], out.isolates[egress] = isolates(p)
	if out.isolates[ingress] {
		for _, r := range p.Spec.Ingress {
			out.allows[ingress] = append(out.allows[ingress], allow{ingress, newPeers(p.Namespace, r.From), newPorts(r.Ports)})
		}
	}
	if out.isolates[egress] {
		for _, r := range p.Spec.Egress {
			out.allows[egress] = append(out.allows[egress], allow{egress, newPeers(p.Namespace, r.To), newPorts(r.Ports)})
		}
	}
	out.text = out.describe()
	return out
}

// isolates answers which directions the policy is about. Without policyTypes that is ingress, and egress if the policy
// has rules for it (the API's default).
func isolates(p *networkingv1.NetworkPolicy) (in, out bool) {
	types := p.Spec.PolicyTypes
	if len(types) == 0 {
		return true, len(p.Spec.Egress) > 0
	}
	return slices.Contains(types, networkingv1.PolicyTypeIngress), slices.Contains(types, networkingv1.PolicyTypeEgress)
}

// selects reports whether the policy is about the pod.
func (p *policy) selects(namespace string, pod labels.Set) bool {
	return p.namespace == namespace && p.pods.Matches(pod)
}

func (p *policy) describe() string {
	parts := []string{p.pods.String()}
	for d := range directions {
		if !p.isolates[d] {
			continue
		}
		parts = append(parts, d.prefix())
		for _, a := range p.allows[d] {
			parts = append(parts, a.peers.text(), a.ports.text())
		}
	}
	return strings.Join(parts, "\n")
}

func selector(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

// peers is the other side of connections. The zero value is nobody.
type peers struct {
	any    bool
	pods   group
	blocks []netip.Prefix
}

func newPeers(namespace string, all []networkingv1.NetworkPolicyPeer) peers {
	if len(all) == 0 {
		return peers{any: true}
	}
	var out peers
	for _, p := range all {
		switch {
		case p.IPBlock != nil:
			out.blocks = append(out.blocks, block(p.IPBlock)...)
		case p.PodSelector != nil || p.NamespaceSelector != nil:
			out.pods = append(out.pods, newTerm(namespace, p))
		}
	}
	out.blocks = nft.Disjoint(out.blocks)
	slices.SortFunc(out.pods, func(a, b term) int { return strings.Compare(a.text(), b.text()) })
	out.pods = slices.CompactFunc(out.pods, func(a, b term) bool { return a.text() == b.text() })
	return out
}

func (p peers) text() string {
	if p.any {
		return "any"
	}
	out := []string{p.pods.text()}
	for _, b := range p.blocks {
		out = append(out, b.String())
	}
	return strings.Join(out, " ")
}

// blocksOf is the address ranges of the family.
func (p peers) blocksOf(f nft.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, b := range p.blocks {
		if nft.FamilyOf(b) == f {
			out = append(out, b)
		}
	}
	return out
}

// term selects pods: those of the policy's own namespace, or of all namespaces that a selector picks.
type term struct {
	own        string // namespace; "" if namespaces decides
	namespaces labels.Selector
	pods       labels.Selector
}

func newTerm(namespace string, p networkingv1.NetworkPolicyPeer) term {
	out := term{own: namespace, pods: labels.Everything()}
	if p.NamespaceSelector != nil {
		out.own, out.namespaces = "", selector(p.NamespaceSelector)
	}
	if p.PodSelector != nil {
		out.pods = selector(p.PodSelector)
	}
	return out
}

func (t term) text() string {
	if t.own != "" {
		return "namespace " + t.own + " pods " + written(t.pods)
	}
	return "namespaces " + written(t.namespaces) + " pods " + written(t.pods)
}

// written tells a selector of everything from one of nothing, which both print as nothing.
func written(s labels.Selector) string {
	if requirements, selectable := s.Requirements(); !selectable {
		return "(none)"
	} else if len(requirements) == 0 {
		return "(all)"
	}
	return "(" + s.String() + ")"
}

// group is pods that any of its terms selects.
type group []term

func (g group) text() string {
	var out []string
	for _, t := range g {
		out = append(out, t.text())
	}
	return strings.Join(out, " or ")
}

// has reports whether a pod of a namespace with these labels is in the group. A namespace that isn't known has none.
func (g group) has(namespace string, of labels.Set, pod labels.Set) bool {
	return slices.ContainsFunc(g, func(t term) bool {
		if t.own != "" {
			return t.own == namespace && t.pods.Matches(pod)
		}
		return of != nil && t.namespaces.Matches(of) && t.pods.Matches(pod)
	})
}

// block is the ranges of an IP block without its exceptions. A block or an exception that can't be parsed, which the API
// doesn't accept, leaves nothing of it.
func block(b *networkingv1.IPBlock) []netip.Prefix {
	cidr, ok := prefix(b.CIDR)
	if !ok {
		return nil
	}
	var excepts []netip.Prefix
	for _, text := range b.Except {
		except, ok := prefix(text)
		if !ok {
			return nil
		}
		excepts = append(excepts, except)
	}
	return without(nil, cidr, nft.Disjoint(excepts))
}

// prefix parses what the API accepts; an IPv4 prefix written as an IPv6 one is an IPv4 prefix.
func prefix(text string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// without appends what is left of p to out, as prefixes. An exception is looked at once for each bit of its length, so that
// thousands of them cost no more than thousands.
func without(out []netip.Prefix, p netip.Prefix, excepts []netip.Prefix) []netip.Prefix {
	var inside []netip.Prefix
	for _, e := range excepts {
		switch {
		case !p.Overlaps(e):
		case e.Bits() <= p.Bits():
			return out
		default:
			inside = append(inside, e)
		}
	}
	if len(inside) == 0 {
		return append(out, p)
	}
	_, last := nft.Bounds(p)
	low, high := netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(last, p.Bits()+1).Masked()
	return without(without(out, low, inside), high, inside)
}

// hash names what is described by the text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
