package proxy

// baseChains is the fixed part of the table: what every packet meets. Package comment: how it works.
func baseChains() []Chain {
	return []Chain{
		rejectChain(),
		servicesChain(),
		{Name: "prerouting", Hook: Prerouting, Rules: []Rule{{Jump{Chain: "services"}}}},
		{Name: "output", Hook: Output, Rules: []Rule{{Jump{Chain: "services"}}}},
		{Name: "postrouting", Hook: Postrouting, Rules: postroutingRules()},
	}
}

// rejectChain answers at once: a reset for TCP, port unreachable for everything else.
func rejectChain() Chain {
	return Chain{Name: "reject", Rules: []Rule{
		{Is{Cond: IsTCP}, End{Kind: Reject}},
		{Is{Cond: IsTCP, Not: true}, End{Kind: Reject}},
	}}
}

func servicesChain() Chain {
	ip := []Field{DstAddr, Proto, DstPort}
	port := []Field{Proto, DstPort}
	dst := []Field{DstAddr}
	// Pods and the node itself reach the whole Service under policy Local too; only outside clients are kept local.
	outside := Rule{Match{Fields: []Field{SrcAddr}, Set: ClusterCIDRs, Not: true}, Is{Cond: SrcLocal, Not: true}}
	from := func(s ...Statement) Rule { return append(append(Rule(nil), outside...), s...) }
	return Chain{Name: "services", Rules: []Rule{
		{Match{Fields: dst, Set: Bypass}, End{Kind: Accept}},
		from(Match{Fields: ip, Set: Guarded}, Match{Fields: append(append([]Field(nil), ip...), SrcAddr), Set: GuardAllowed, Not: true}, End{Kind: Drop}),
		from(Branch{Fields: ip, Map: ExternalLocal}),
		{Branch{Fields: ip, Map: Services}},
		from(Match{Fields: dst, Set: NodeAddrs}, Branch{Fields: port, Map: NodePortsLocal}),
		{Match{Fields: dst, Set: NodeAddrs}, Branch{Fields: port, Map: NodePorts}},
		{Choose{Fields: ip, Map: HostPortAddrs}, Translate{}},
		{Match{Fields: dst, Set: LoopbackCIDRs, Not: true}, Is{Cond: DstLocal}, Choose{Fields: port, Map: HostPorts}, Translate{}},
		// What is left for a known Service asks for a port that it doesn't have.
		{Match{Fields: dst, Set: ClusterIPs}, Jump{Chain: "reject"}},
		// An unknown Service may be one this node hasn't heard of yet: the client's retry finds it.
		{Match{Fields: dst, Set: ServiceCIDRs}, End{Kind: Drop}},
	}}
}

func postroutingRules() []Rule {
	origIP := []Field{OrigAddr, Proto, OrigPort}
	src := []Field{SrcAddr}
	dst := []Field{DstAddr}
	masq := End{Kind: Masquerade}
	return []Rule{
		{Is{Cond: ToLoopback}, End{Kind: Accept}},
		{Is{Cond: Translated}, Match{Fields: []Field{SrcAddr, DstAddr}, Set: Hairpins}, masq},
		{Is{Cond: Translated}, Match{Fields: origIP, Set: MasqueradeAddrs}, masq},
		{
			Is{Cond: Translated},
			Match{Fields: []Field{OrigAddr}, Set: NodeAddrs},
			Match{Fields: []Field{Proto, OrigPort}, Set: MasqueradePorts},
			masq,
		},
		// Clients from elsewhere that route the Service range through this node get their answers through it too.
		{
			Is{Cond: Translated},
			Match{Fields: src, Set: ClusterCIDRs, Not: true},
			Match{Fields: []Field{OrigAddr}, Set: ClusterIPs},
			masq,
		},
		{Match{Fields: src, Set: ClusterCIDRs}, Match{Fields: dst, Set: ClusterCIDRs, Not: true}, masq},
	}
}
