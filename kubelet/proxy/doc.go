// Package proxy makes Services work on a node: it keeps one nftables table per address family in step with the
// cluster's Services, EndpointSlices and the host ports of the node's own pods.
//
// # How a packet finds its endpoint
//
// The rules are few and fixed; everything that grows lives in maps. Both nat hooks jump to the chain "services", which
// looks the packet's (address, protocol, port) up in verdict maps. A Service with N endpoints answers with the chain
// that balances over N ("lb-ip-all-3"), and that chain's one rule takes element
// (address, protocol, port, random below N) of the map "endpoints" as the packet's new destination. Services with equally
// many endpoints share a chain, so the number of rules depends on the largest Service, never on how many there are, and
// changing one endpoint is a handful of map elements in one transaction.
//
//	prerouting ─┐                ┌─ services / nodeports (vmap) ── lb-… ── endpoints (map) ── dnat
//	            ├── services ────┼─ external-local / nodeports-local (vmap), for packets that come from outside
//	output ─────┘                ├─ hostports (map) ── dnat
//	                             └─ reject or drop what is left for the Service range
//	postrouting ── masquerade: hairpins, external traffic of policy Cluster, and pods talking outward
//
// Nothing marks packets: postrouting recognises a translated connection by conntrack's original destination, so other
// programs' marks and tables stay untouched.
//
// # How changes flow
//
// Informer events only say which Service is dirty. The loop in Run reads what is, plans the elements of that Service
// (Planner, pure), and nft.State turns plans into the difference to the kernel's content, applied as one netlink batch.
// Whenever a batch fails, or the table was removed or changed by somebody else, the whole table is replaced atomically.
package proxy
