// Package dns is the cluster's name server, one on each node, answering from the shared informers' caches.
//
// It follows the Kubernetes DNS specification 1.1 (kubernetes/dns, docs/specification.md): a Service's addresses, ports
// and endpoints, both ways, and pods by address. There is no state of its own to lag behind: an answer is computed from
// what the caches hold at that moment. Other names are forwarded to the servers of the host's resolv.conf, or to those
// that a stub domain names, and cached for as long as their records allow.
//
// The server listens on the cluster's DNS address, which it puts on a link of its own on the node, so that pods are answered
// by their own node without any translation of addresses.
package dns
