package proxy

import "skiff/kubelet/nft"

// baseChains is the fixed part of the table: what every packet meets. Package comment: how it works.
func baseChains() []nft.Chain {
	return []nft.Chain{
		rejectChain(),
		servicesChain(),
		{Name: "prerouting", Hook: nft.Prerouting, Rules: []nft.Rule{{nft.Call{Chain: "services"}}}},
		{Name: "output", Hook: nft.Output, Rules: []nft.Rule{{nft.Call{Chain: "services"}}}},
		{Name: "postrouting", Hook: nft.Postrouting, Rules: postroutingRules()},
	}
}

// rejectChain answers at once: a reset for TCP, port unreachable for everything else.
func rejectChain() nft.Chain {
	return nft.Chain{Name: "reject", Rules: []nft.Rule{
		{nft.Is{Cond: nft.IsTCP}, nft.End{Kind: nft.Reject}},
		{nft.Is{Cond: nft.IsTCP, Not: true}, nft.End{Kind: nft.Reject}},
	}}
}

func servicesChain() nft.Chain {
	ip := []nft.Field{nft.DstAddr, nft.Proto, nft.DstPort}
	port := []nft.Field{nft.Proto, nft.DstPort}
	dst := []nft.Field{nft.DstAddr}
	// Pods and the node itself reach the whole Service under policy Local too; only outside clients are kept local.
	outside := nft.Rule{nft.Match{Fields: []nft.Field{nft.SrcAddr}, Set: ClusterCIDRs, Not: true}, nft.Is{Cond: nft.SrcLocal, Not: true}}
	from := func(s ...nft.Statement) nft.Rule { return append(append(nft.Rule(nil), outside...), s...) }
	return nft.Chain{Name: "services", Rules: []nft.Rule{
		{nft.Match{Fields: dst, Set: Bypass}, nft.End{Kind: nft.Accept}},
		from(nft.Match{Fields: ip, Set: Guarded}, nft.Match{Fields: append(append([]nft.Field(nil), ip...), nft.SrcAddr), Set: GuardAllowed, Not: true}, nft.End{Kind: nft.Drop}),
		from(nft.Branch{Fields: ip, Map: ExternalLocal}),
		{nft.Branch{Fields: ip, Map: Services}},
		from(nft.Match{Fields: dst, Set: NodeAddrs}, nft.Branch{Fields: port, Map: NodePortsLocal}),
		{nft.Match{Fields: dst, Set: NodeAddrs}, nft.Branch{Fields: port, Map: NodePorts}},
		{nft.Choose{Fields: ip, Map: HostPortAddrs}, nft.Translate{}},
		{nft.Match{Fields: dst, Set: LoopbackCIDRs, Not: true}, nft.Is{Cond: nft.DstLocal}, nft.Choose{Fields: port, Map: HostPorts}, nft.Translate{}},
		// What is left for a known Service asks for a port that it doesn't have.
		{nft.Match{Fields: dst, Set: ClusterIPs}, nft.Call{Chain: "reject"}},
		// An unknown Service may be one this node hasn't heard of yet: the client's retry finds it.
		{nft.Match{Fields: dst, Set: ServiceCIDRs}, nft.End{Kind: nft.Drop}},
	}}
}

func postroutingRules() []nft.Rule {
	origIP := []nft.Field{nft.OrigAddr, nft.Proto, nft.OrigPort}
	src := []nft.Field{nft.SrcAddr}
	dst := []nft.Field{nft.DstAddr}
	masq := nft.End{Kind: nft.Masquerade}
	return []nft.Rule{
		{nft.Is{Cond: nft.ToLoopback}, nft.End{Kind: nft.Accept}},
		{nft.Is{Cond: nft.Translated}, nft.Match{Fields: []nft.Field{nft.SrcAddr, nft.DstAddr}, Set: Hairpins}, masq},
		{nft.Is{Cond: nft.Translated}, nft.Match{Fields: origIP, Set: MasqueradeAddrs}, masq},
		{
			nft.Is{Cond: nft.Translated},
			nft.Match{Fields: []nft.Field{nft.OrigAddr}, Set: NodeAddrs},
			nft.Match{Fields: []nft.Field{nft.Proto, nft.OrigPort}, Set: MasqueradePorts},
			masq,
		},
		// Clients from elsewhere that route the Service range through this node get their answers through it too.
		{
			nft.Is{Cond: nft.Translated},
			nft.Match{Fields: src, Set: ClusterCIDRs, Not: true},
			nft.Match{Fields: []nft.Field{nft.OrigAddr}, Set: ClusterIPs},
			masq,
		},
		{nft.Match{Fields: src, Set: ClusterCIDRs}, nft.Match{Fields: dst, Set: ClusterCIDRs, Not: true}, masq},
	}
}
