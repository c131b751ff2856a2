package proxy

import (
	"cmp"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff/kubelet/nft"
)

// ElementID is the place of an element in the tables.
type ElementID = nft.ElementID

// Element is one element of a set or map.
type Element = nft.Element[Value]

// Value is what a map has for a key; a set's elements have the zero Value.
type Value struct {
	Target  string // packed address and port of an endpoint
	Verdict Verdict
}

// Data is the value as the kernel knows it.
func (v Value) Data() nft.Data {
	out := nft.Data{Target: v.Target, Chain: v.Verdict.chainName()}
	switch {
	case v.Verdict.Kind == Drop:
		out.Verdict = nft.Drop
	case v.Verdict.Kind != 0:
		out.Verdict = nft.Goto
	}
	return out
}

// Planner turns Services and pods into elements. It is a pure function of its inputs.
type Planner struct {
	Families []nft.Family
	Node     string
	Zone     string
}

// Ignored reports whether the Service is nothing to the proxy: headless, an external name, or left to another proxy.
func Ignored(svc *corev1.Service) bool {
	_, other := svc.Labels["service.kubernetes.io/service-proxy-name"]
	ip := svc.Spec.ClusterIP
	return other || ip == "" || ip == corev1.ClusterIPNone || svc.Spec.Type == corev1.ServiceTypeExternalName
}

// Service plans the elements of a Service with the given slices. Where clients stay with their endpoints the plan goes
// on from the previous one, of which previous answers the values; nil if there is none.
func (p Planner) Service(svc *corev1.Service, all []*discoveryv1.EndpointSlice, previous func(ElementID) Value) []Element {
	if svc == nil || Ignored(svc) {
		return nil
	}
	var out []Element
	for _, f := range p.Families {
		b := builder{family: f, svc: svc, previous: previous}
		for _, addr := range b.clusterIPs() {
			b.set(ClusterIPs, nft.Key(nil).Addr(addr))
		}
		for _, port := range svc.Spec.Ports {
			if nft.ProtocolNumber(port.Protocol) != 0 {
				b.port(port, endpointsOf(f, port, all, place{node: p.Node, zone: p.Zone}), place{node: p.Node, zone: p.Zone})
			}
		}
		out = append(out, b.out...)
	}
	return out
}

// builder collects the elements of one Service and family.
type builder struct {
	family   nft.Family
	svc      *corev1.Service
	previous func(ElementID) Value
	out      []Element
}

// backends is who answers for a Service port, by the traffic's origin.
type backends struct {
	inside  []endpoint // to the cluster IP
	cluster []endpoint // to external addresses, policy Cluster, and from inside always
	local   []endpoint // from outside to external addresses, policy Local
	any     bool       // there is some endpoint for the whole cluster
}

func (b *builder) backends(all []endpoint, here place) backends {
	cluster := usable(nearby(all, here))
	local := usable(filter(all, func(e endpoint) bool { return e.local }))
	inside := cluster
	if deref(b.svc.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster) == corev1.ServiceInternalTrafficPolicyLocal {
		inside = local
	}
	return backends{inside: inside, cluster: cluster, local: local, any: len(cluster) > 0}
}

func (b *builder) port(port corev1.ServicePort, all []endpoint, here place) {
	to := b.backends(all, here)
	proto, number := nft.ProtocolNumber(port.Protocol), uint16(port.Port)
	for _, addr := range b.clusterIPs() {
		b.balance(Services, frontend{addr: addr, proto: proto, port: number}, to.inside, to.any)
	}
	for _, addr := range b.externalIPs() {
		b.external(frontend{addr: addr, proto: proto, port: number}, to)
	}
	for _, addr := range b.loadBalancerIPs() {
		at := frontend{addr: addr, proto: proto, port: number}
		b.external(at, to)
		b.guard(at)
	}
	if port.NodePort != 0 {
		b.external(frontend{addr: b.family.Zero(), proto: proto, port: uint16(port.NodePort), node: true}, to)
	}
	b.hairpins(to.cluster)
	b.hairpins(to.local)
}

// frontend is an address at which a Service is reached; node: the port on every address of the node.
type frontend struct {
	addr  netip.Addr
	proto uint8
	port  uint16
	node  bool
}

// full is the key under which the frontend's endpoints are filed.
func (f frontend) full() nft.Key { return nft.Key(nil).Addr(f.addr).Proto(f.proto).Port(f.port) }

// short is the key of the frontend itself.
func (f frontend) short() nft.Key {
	if f.node {
		return nft.Key(nil).Proto(f.proto).Port(f.port)
	}
	return f.full()
}

// external plans a frontend that is reached from outside, by the Service's external traffic policy.
func (b *builder) external(at frontend, to backends) {
	verdicts, local, masquerade := Services, ExternalLocal, MasqueradeAddrs
	if at.node {
		verdicts, local, masquerade = NodePorts, NodePortsLocal, MasqueradePorts
	}
	b.balance(verdicts, at, to.cluster, to.any)
	if b.svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		b.balance(local, at, to.local, to.any)
		return
	}
	b.set(masquerade, at.short())
}

// balance plans that verdicts spreads the frontend's traffic over the endpoints. Without endpoints the traffic is
// rejected; if merely none is on this node, it is dropped, as other nodes may answer.
func (b *builder) balance(verdicts nft.SetName, at frontend, eps []endpoint, anywhere bool) {
	verdict := Verdict{Kind: Spread}
	switch {
	case len(eps) > 0:
		verdict.Balance = b.spread(verdicts, at, eps)
	case anywhere:
		verdict.Kind = Drop
	default:
		verdict.Kind = Reject
	}
	b.add(verdicts, at.short(), Value{Verdict: verdict})
}

func (b *builder) hairpins(eps []endpoint) {
	for _, e := range eps {
		if e.hairpin {
			b.set(Hairpins, nft.Key(nil).Addr(e.addr).Addr(e.addr))
		}
	}
}

// affinity is the Service's session timeout in seconds; 0 without affinity.
func (b *builder) affinity() int32 {
	if b.svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	config := b.svc.Spec.SessionAffinityConfig
	if config == nil || config.ClientIP == nil {
		return corev1.DefaultClientIPServiceAffinitySeconds
	}
	return cmp.Or(deref(config.ClientIP.TimeoutSeconds, 0), corev1.DefaultClientIPServiceAffinitySeconds)
}

func (b *builder) set(name nft.SetName, k nft.Key) { b.add(name, k, Value{}) }

func (b *builder) add(name nft.SetName, k nft.Key, v Value) {
	b.out = append(b.out, Element{ID: ElementID{Family: b.family, Map: name, Key: string(k)}, Value: v})
}
