package proxy

import (
	"fmt"

	"skiff/kubelet/nft"
)

// The maps. "ip keys" are (address, protocol, port); "port keys" are (protocol, port).
const (
	Services           nft.SetName = "services"             // ip key -> verdict
	ExternalLocal      nft.SetName = "external-local"       // ip key -> verdict for packets from outside, policy Local
	NodePorts          nft.SetName = "nodeports"            // port key -> verdict
	NodePortsLocal     nft.SetName = "nodeports-local"      // port key -> verdict for packets from outside, policy Local
	Endpoints          nft.SetName = "endpoints"            // ip key, index -> endpoint
	LocalEndpoints     nft.SetName = "endpoints-local"      // ip key, index -> endpoint on this node
	HostPorts          nft.SetName = "hostports"            // port key -> pod
	HostPortAddrs      nft.SetName = "hostport-addrs"       // ip key -> pod, for host ports bound to an address
	StickySlots        nft.SetName = "sticky-slots"         // ip key, slot -> verdict, for slots that have an endpoint
	StickyChoices      nft.SetName = "sticky-choices"       // ip key, index -> verdict, for clients that are new
	StickySlotsLocal   nft.SetName = "sticky-slots-local"   // the same for endpoints on this node
	StickyChoicesLocal nft.SetName = "sticky-choices-local" // the same for endpoints on this node
	Hairpins           nft.SetName = "hairpins"             // address, same address: endpoints that may call themselves
	MasqueradeAddrs    nft.SetName = "masquerade-addrs"     // ip key: external addresses of policy Cluster
	MasqueradePorts    nft.SetName = "masquerade-ports"     // port key: node ports of policy Cluster
	Guarded            nft.SetName = "guarded"              // ip key: load balancers with source ranges
	GuardAllowed       nft.SetName = "guard-allowed"        // ip key, source range
	ClusterIPs         nft.SetName = "cluster-ips"          // addresses of Services
	Bypass             nft.SetName = "bypass"               // addresses answered by this node itself (cluster DNS)
	NodeAddrs          nft.SetName = "node-addrs"           // addresses on which node ports listen
	ClusterCIDRs       nft.SetName = "cluster-cidrs"        // prefixes: where pods live
	ServiceCIDRs       nft.SetName = "service-cidrs"        // prefixes: where Services live
	LoopbackCIDRs      nft.SetName = "loopback-cidrs"       // prefixes: never a host port's address
)

// Clients is the set of the clients that stay with the slot: (client address, ip key), filled by the rules.
func Clients(slot int32) nft.SetName { return nft.SetName(fmt.Sprintf("clients-%d", slot)) }

func clientsLayout(slot int32) nft.Set {
	return nft.Set{Name: Clients(slot), Fields: []nft.Field{nft.SrcAddr, nft.DstAddr, nft.Proto, nft.DstPort}, Dynamic: true}
}

// layouts lists every map of the table but the clients'.
func layouts() []nft.Set {
	ip := []nft.Field{nft.DstAddr, nft.Proto, nft.DstPort}
	port := []nft.Field{nft.Proto, nft.DstPort}
	addr := []nft.Field{nft.DstAddr}
	with := func(base []nft.Field, more ...nft.Field) []nft.Field {
		return append(append([]nft.Field(nil), base...), more...)
	}
	return []nft.Set{
		{Name: Services, Fields: ip, Verdict: true},
		{Name: ExternalLocal, Fields: ip, Verdict: true},
		{Name: NodePorts, Fields: port, Verdict: true},
		{Name: NodePortsLocal, Fields: port, Verdict: true},
		{Name: Endpoints, Fields: with(ip, nft.Random), Target: true},
		{Name: LocalEndpoints, Fields: with(ip, nft.Random), Target: true},
		{Name: HostPorts, Fields: port, Target: true},
		{Name: HostPortAddrs, Fields: ip, Target: true},
		{Name: StickySlots, Fields: with(ip, nft.Slot), Verdict: true},
		{Name: StickyChoices, Fields: with(ip, nft.Random), Verdict: true},
		{Name: StickySlotsLocal, Fields: with(ip, nft.Slot), Verdict: true},
		{Name: StickyChoicesLocal, Fields: with(ip, nft.Random), Verdict: true},
		{Name: Hairpins, Fields: []nft.Field{nft.SrcAddr, nft.DstAddr}},
		{Name: MasqueradeAddrs, Fields: ip},
		{Name: MasqueradePorts, Fields: port},
		{Name: Guarded, Fields: ip},
		{Name: GuardAllowed, Fields: with(ip, nft.SrcAddr), Interval: true},
		{Name: ClusterIPs, Fields: addr},
		{Name: Bypass, Fields: addr},
		{Name: NodeAddrs, Fields: addr},
		{Name: ClusterCIDRs, Fields: addr, Interval: true},
		{Name: ServiceCIDRs, Fields: addr, Interval: true},
		{Name: LoopbackCIDRs, Fields: addr, Interval: true},
	}
}

// ranged tells the sets whose keys are ranges.
func ranged(name nft.SetName) bool { return name == GuardAllowed }
