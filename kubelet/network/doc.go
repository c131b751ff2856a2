// Package network lays the pod network of a node: the bridge that pods hang on, the configuration by which the
// container runtime's CNI plugins attach them, the kernel settings and routes that carry their traffic, and the answer
// to which address the node has. Services are not its business (kubelet/proxy), nor are names (kubelet/dns).
//
// # How packets between pods of a node travel
//
// Traffic to a Service is translated by the host's packet filter on the way there, and must pass it on the way back, or
// the client sees an answer from a stranger. A bridge by itself carries the answer past the host. Two ways prevent that:
//
//   - Filtered: the kernel's br_netfilter has bridged packets meet the packet filter. Used where it is present.
//   - Routed: the ports of the bridge are isolated from one another and the bridge answers ARP for all pods, so that
//     every packet between pods is routed by the host. Needs nothing of the kernel but the bridge; IPv4 only.
//
// # Nothing for the cluster leaves the host
//
// The Service range is routed to the bridge, which gives programs on the node a source address and the packet filter its
// chance, and both the Service range and the pod range of the whole cluster are unreachable otherwise: while no rule and
// no more specific route exists, packets for them are refused here and never follow the default route.
//
// # How packets travel between nodes
//
// Peers follows the Node objects: with host-gw each other node's pod range is routed to the node's address, with VXLAN
// through a tunnel. Nothing translates addresses between pods. A route made here is known by its protocol number.
package network
