package proxy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff/kubelet/nft"
)

// endpoint is one backend of a Service port.
type endpoint struct {
	addr        netip.Addr
	port        uint16
	ready       bool
	serving     bool
	terminating bool
	local       bool // on this node
	hairpin     bool // may be on this node, so that it may meet itself
	zones       []string
	nodes       []string
}

// place is where this node is, for traffic that prefers to stay near.
type place struct {
	node string
	zone string
}

// endpointsOf lists the backends of one Service port from the Service's slices, each address and port once, sorted.
// Service ports and slice ports meet by name and protocol.
func endpointsOf(f nft.Family, port corev1.ServicePort, all []*discoveryv1.EndpointSlice, here place) []endpoint {
	var out []endpoint
	for _, slice := range all {
		number := slicePort(slice, port)
		if number == 0 {
			continue
		}
		for i := range slice.Endpoints {
			if e, ok := parseEndpoint(f, &slice.Endpoints[i], here); ok {
				e.port = number
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.port, b.port), compareReady(a, b))
	})
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.addr == b.addr && a.port == b.port })
}

// compareReady sorts the more useful of two reports about one address first: while a slice is being rebalanced an
// endpoint may be in two of them.
func compareReady(a, b endpoint) int {
	rank := func(e endpoint) int {
		switch {
		case e.ready:
			return 0
		case e.serving:
			return 1
		default:
			return 2
		}
	}
	return cmp.Compare(rank(a), rank(b))
}

func slicePort(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) uint16 {
	for _, p := range slice.Ports {
		name, protocol := deref(p.Name, ""), deref(p.Protocol, corev1.ProtocolTCP)
		if name == port.Name && protocol == cmp.Or(port.Protocol, corev1.ProtocolTCP) {
			return uint16(deref(p.Port, 0))
		}
	}
	return 0
}

func parseEndpoint(f nft.Family, ep *discoveryv1.Endpoint, here place) (endpoint, bool) {
	if len(ep.Addresses) == 0 {
		return endpoint{}, false
	}
	addr, err := netip.ParseAddr(ep.Addresses[0])
	if err != nil || !f.Of(addr) {
		return endpoint{}, false
	}
	ready := deref(ep.Conditions.Ready, true)
	e := endpoint{
		addr:        addr.Unmap(),
		ready:       ready,
		serving:     deref(ep.Conditions.Serving, ready),
		terminating: deref(ep.Conditions.Terminating, false),
		local:       ep.NodeName != nil && *ep.NodeName == here.node,
		hairpin:     ep.NodeName == nil || *ep.NodeName == here.node,
	}
	if ep.Hints != nil {
		for _, z := range ep.Hints.ForZones {
			e.zones = append(e.zones, z.Name)
		}
		for _, n := range ep.Hints.ForNodes {
			e.nodes = append(e.nodes, n.Name)
		}
	}
	return e, true
}

// usable picks who gets traffic: the ready endpoints, or, if there are none, those that still serve while they
// terminate (KEP-1669).
func usable(all []endpoint) []endpoint {
	if ready := filter(all, func(e endpoint) bool { return e.ready }); len(ready) > 0 {
		return ready
	}
	return filter(all, func(e endpoint) bool { return e.serving && e.terminating })
}

// nearby narrows endpoints to those that hints assign to this node or zone. Hints count only if every ready endpoint
// has one and some endpoint is meant for here (KEP-2433, KEP-3015); otherwise all endpoints stay.
func nearby(all []endpoint, here place) []endpoint {
	ready := filter(all, func(e endpoint) bool { return e.ready })
	forNode := func(e endpoint) bool { return slices.Contains(e.nodes, here.node) }
	forZone := func(e endpoint) bool { return here.zone != "" && slices.Contains(e.zones, here.zone) }
	hasNode := func(e endpoint) bool { return len(e.nodes) > 0 }
	hasZone := func(e endpoint) bool { return len(e.zones) > 0 }
	switch {
	case len(ready) == 0:
		return all
	case every(ready, hasNode) && slices.ContainsFunc(ready, forNode):
		return filter(all, forNode)
	case every(ready, hasZone) && slices.ContainsFunc(ready, forZone):
		return filter(all, forZone)
	default:
		return all
	}
}

func filter(all []endpoint, keep func(endpoint) bool) []endpoint {
	var out []endpoint
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func every(all []endpoint, is func(endpoint) bool) bool {
	return !slices.ContainsFunc(all, func(e endpoint) bool { return !is(e) })
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
