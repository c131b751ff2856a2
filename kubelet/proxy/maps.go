package proxy

import "fmt"

// MapName names a set or map of the table.
type MapName uint16

// The maps. "ip keys" are (address, protocol, port); "port keys" are (protocol, port).
const (
	Services           MapName = iota + 1 // ip key -> verdict
	ExternalLocal                         // ip key -> verdict for packets from outside, policy Local
	NodePorts                             // port key -> verdict
	NodePortsLocal                        // port key -> verdict for packets from outside, policy Local
	Endpoints                             // ip key, index -> endpoint
	LocalEndpoints                        // ip key, index -> endpoint on this node
	HostPorts                             // port key -> pod
	HostPortAddrs                         // ip key -> pod, for host ports bound to an address
	StickySlots                           // ip key, slot -> verdict, for slots that have an endpoint
	StickyChoices                         // ip key, index -> verdict, for clients that are new
	StickySlotsLocal                      // the same for endpoints on this node
	StickyChoicesLocal                    // the same for endpoints on this node
	Hairpins                              // address, same address: endpoints that may call themselves
	MasqueradeAddrs                       // ip key: external addresses of policy Cluster
	MasqueradePorts                       // port key: node ports of policy Cluster
	Guarded                               // ip key: load balancers with source ranges
	GuardAllowed                          // ip key, source range
	ClusterIPs                            // addresses of Services
	Bypass                                // addresses answered by this node itself (cluster DNS)
	NodeAddrs                             // addresses on which node ports listen
	ClusterCIDRs                          // prefixes: where pods live
	ServiceCIDRs                          // prefixes: where Services live
	LoopbackCIDRs                         // prefixes: never a host port's address
	firstClients                          // the sets of clients; see Clients
)

// Clients is the set of the clients that stay with the slot: (client address, ip key), filled by the rules.
func Clients(slot int32) MapName { return firstClients + MapName(slot) }

// String is the name in the kernel.
func (m MapName) String() string {
	if m >= firstClients {
		return fmt.Sprintf("clients-%d", m-firstClients)
	}
	return [...]string{
		Services:           "services",
		ExternalLocal:      "external-local",
		NodePorts:          "nodeports",
		NodePortsLocal:     "nodeports-local",
		Endpoints:          "endpoints",
		LocalEndpoints:     "endpoints-local",
		HostPorts:          "hostports",
		HostPortAddrs:      "hostport-addrs",
		StickySlots:        "sticky-slots",
		StickyChoices:      "sticky-choices",
		StickySlotsLocal:   "sticky-slots-local",
		StickyChoicesLocal: "sticky-choices-local",
		Hairpins:           "hairpins",
		MasqueradeAddrs:    "masquerade-addrs",
		MasqueradePorts:    "masquerade-ports",
		Guarded:            "guarded",
		GuardAllowed:       "guard-allowed",
		ClusterIPs:         "cluster-ips",
		Bypass:             "bypass",
		NodeAddrs:          "node-addrs",
		ClusterCIDRs:       "cluster-cidrs",
		ServiceCIDRs:       "service-cidrs",
		LoopbackCIDRs:      "loopback-cidrs",
	}[m]
}

// layout is what the kernel must know about a map.
type layout struct {
	name    MapName
	fields  []Field // of the key
	verdict bool    // maps to a verdict
	target  bool    // maps to an endpoint
	prefix  bool    // the (last) key field is a range of addresses
	dynamic bool    // rules add elements, with a timeout
}

func clientsLayout(slot int32) layout {
	return layout{name: Clients(slot), fields: []Field{SrcAddr, DstAddr, Proto, DstPort}, dynamic: true}
}

// layouts lists every map of the table but the clients'.
func layouts() []layout {
	ip := []Field{DstAddr, Proto, DstPort}
	port := []Field{Proto, DstPort}
	addr := []Field{DstAddr}
	with := func(base []Field, more ...Field) []Field { return append(append([]Field(nil), base...), more...) }
	return []layout{
		{name: Services, fields: ip, verdict: true},
		{name: ExternalLocal, fields: ip, verdict: true},
		{name: NodePorts, fields: port, verdict: true},
		{name: NodePortsLocal, fields: port, verdict: true},
		{name: Endpoints, fields: with(ip, Random), target: true},
		{name: LocalEndpoints, fields: with(ip, Random), target: true},
		{name: HostPorts, fields: port, target: true},
		{name: HostPortAddrs, fields: ip, target: true},
		{name: StickySlots, fields: with(ip, Slot), verdict: true},
		{name: StickyChoices, fields: with(ip, Random), verdict: true},
		{name: StickySlotsLocal, fields: with(ip, Slot), verdict: true},
		{name: StickyChoicesLocal, fields: with(ip, Random), verdict: true},
		{name: Hairpins, fields: []Field{SrcAddr, DstAddr}},
		{name: MasqueradeAddrs, fields: ip},
		{name: MasqueradePorts, fields: port},
		{name: Guarded, fields: ip},
		{name: GuardAllowed, fields: with(ip, SrcAddr), prefix: true},
		{name: ClusterIPs, fields: addr},
		{name: Bypass, fields: addr},
		{name: NodeAddrs, fields: addr},
		{name: ClusterCIDRs, fields: addr, prefix: true},
		{name: ServiceCIDRs, fields: addr, prefix: true},
		{name: LoopbackCIDRs, fields: addr, prefix: true},
	}
}

// fieldLen is the length of a field in a key, in bytes.
func (f Family) fieldLen(field Field) int {
	switch field {
	case SrcAddr, DstAddr, AnyAddr, OrigAddr:
		return f.addrLen()
	default:
		return 4
	}
}

func (f Family) fieldsLen(fields []Field) int {
	n := 0
	for _, field := range fields {
		n += f.fieldLen(field)
	}
	return n
}
