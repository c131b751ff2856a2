package policy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/nft"
)

// Name is the name of an object in a namespace.
type Name struct{ Namespace, Name string }

// outlived names a pod in the book that the API no longer has under its name. No pod's name has a space.
func outlived(at Name, uid types.UID) Name { return Name{at.Namespace, at.Name + " " + string(uid)} }

// lease is the addresses that this node gave a pod. Of two leases of an address, the later holds.
type lease struct {
	pod   *corev1.Pod // as the API had it last
	addrs []netip.Addr
	order int64 // 1 for the first
}

// pod is what policies need to know of a pod.
type pod struct {
	uid     string
	lease   int64 // its order; 0 if only the API says that the pod has its addresses
	created int64 // Unix time
	here    bool  // on this node
	labels  labels.Set
	addrs   []netip.Addr
	ports   []containerPort
	chains  []chainID // of a pod on this node that is isolated
}

// newPod answers nil for a pod that is nothing to policies: one on its host's network, which counts as the host, one that
// has ended, whose address may be another's by now, and one without address. l is the node's word on the addresses, nil if
// there is none.
func newPod(p *corev1.Pod, node string, l *lease) *pod {
	if p == nil || p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	addrs, order := addresses(p), int64(0)
	if l != nil && len(l.addrs) > 0 {
		addrs, order = l.addrs, l.order
	}
	if len(addrs) == 0 {
		return nil
	}
	return &pod{
		uid: string(p.UID), lease: order, created: p.CreationTimestamp.Unix(), here: p.Spec.NodeName == node,
		labels: p.Labels, addrs: addrs, ports: namedPorts(p),
	}
}

// addresses are those that the API has for the pod, each once.
func addresses(p *corev1.Pod) []netip.Addr {
	texts := []string{p.Status.PodIP}
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	return parse(texts)
}

func parse(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// same reports whether policies see no difference.
func (p *pod) same(other *pod) bool {
	if p == nil || other == nil {
		return p == other
	}
	return p.uid == other.uid && p.lease == other.lease && p.created == other.created && p.here == other.here && labels.Equals(p.labels, other.labels) &&
		slices.Equal(p.addrs, other.addrs) && slices.Equal(p.ports, other.ports)
}

// newer orders pods that claim one address: the one that this node gave it last has it; if it gave it to none, the one
// created last.
func (p *pod) newer(other *pod) bool {
	return cmp.Or(cmp.Compare(p.lease, other.lease), cmp.Compare(p.created, other.created), cmp.Compare(p.uid, other.uid)) > 0
}

func familyOf(a netip.Addr) nft.Family {
	if a.Is4() {
		return nft.IPv4
	}
	return nft.IPv6
}
