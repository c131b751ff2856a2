package policy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/kubelet/nft"
)

// Name is the name of an object in a namespace.
type Name struct{ Namespace, Name string }

// pod is what policies need to know of a pod.
type pod struct {
	uid     string
	created int64 // Unix time
	here    bool  // on this node
	labels  labels.Set
	addrs   []netip.Addr
	ports   []containerPort
	chains  []chainID // of a pod on this node that is isolated
}

// newPod answers nil for a pod that is nothing to policies: one on its host's network, which counts as the host, one that
// has ended, whose address may be another's by now, and one without address. addrs are the addresses that the node gave
// the pod, if it knows them before the API does.
func newPod(p *corev1.Pod, node string, addrs []netip.Addr) *pod {
	if p == nil || p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	if len(addrs) == 0 {
		addrs = addresses(p)
	}
	if len(addrs) == 0 {
		return nil
	}
	return &pod{
		uid: string(p.UID), created: p.CreationTimestamp.Unix(), here: p.Spec.NodeName == node,
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
	return p.uid == other.uid && p.created == other.created && p.here == other.here && labels.Equals(p.labels, other.labels) &&
		slices.Equal(p.addrs, other.addrs) && slices.Equal(p.ports, other.ports)
}

// newer orders pods that claim one address: the one created last has it.
func (p *pod) newer(other *pod) bool {
	return cmp.Or(cmp.Compare(p.created, other.created), cmp.Compare(p.uid, other.uid)) > 0
}

func familyOf(a netip.Addr) nft.Family {
	if a.Is4() {
		return nft.IPv4
	}
	return nft.IPv6
}
