// Package policy enforces NetworkPolicies (networking.k8s.io/v1) for the pods of a node: it keeps one nftables table per
// address family in step with the cluster's policies, pods and namespaces.
//
// # How a packet is judged
//
// Where packets are forwarded, after Services were translated and before sources are masqueraded, each packet that opens
// a connection meets one chain:
//
//	forward ─┬─ belongs to a connection that was let through, or answers it ── accept
//	         ├─ a pod talks to itself (self) ───────────────────────────────── accept
//	         ├─ source address in "egress"       ── jump out-… ─┬─ a rule allows it ── return
//	         │                                                  └─ drop
//	         └─ destination address in "ingress" ── jump in-…  ─┬─ a rule allows it ── return
//	                                                            └─ drop
//
// The verdict maps "egress" and "ingress" have the addresses of this node's isolated pods. Each leads to the chain of
// everything that the policies selecting the pod allow, together; pods selected by the same policies share it. A rule
// looks the peer up in a set of pods ("pods-…") or of address ranges ("blocks-…"), and the port in a set of ranges
// ("ports-…") or of pods' named ports ("named-…"). So a pod that comes or goes is a few elements, whatever the number
// of pods and policies, and policies that select no pod of this node cost nothing here.
//
// Chains and sets never change their meaning: their names are hashes of it. What is to mean something else gets another
// name, and the elements that lead there change in the same transaction.
//
// What the node itself sends and receives isn't forwarded and so never judged: probes always arrive, as Kubernetes has
// it, and pods on the host's network are part of the node. Neighbour discovery is let through, which bridges show to the
// packet filter; what else comes from link-local addresses of the pods' bridge is dropped, as no policy could judge it. So is
// what its pods send to a broadcast or multicast address while there is a pod that is isolated for ingress ("guarded"): the
// bridge carries that to every pod.
// Policies speak of TCP, UDP and SCTP; other protocols pass where a rule allows all ports.
//
// # Before a pod's first packet
//
// The kubelet has Admit wait, once a pod has its addresses and before any of its containers starts, until the kernel has
// its rules: those that isolate it, and those that let others talk to it. While policies aren't known yet no pod starts.
//
// From then on, or from Hold for a pod that runs already when the process starts, until Release the pod has its addresses,
// whatever the API says: deleting its object by force doesn't free what still runs, and of two pods with one address the
// kubelet's last word holds, not a status that is behind.
//
// # How changes flow
//
// As in kubelet/proxy: events say what is dirty, Book (pure) turns what is into wanted elements, sets and chains, and the
// difference is one transaction. When the table was removed or changed by somebody else, it is made anew.
package policy
