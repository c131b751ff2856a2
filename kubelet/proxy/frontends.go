package proxy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/nft"
)

// addresses parses those of the family, each once.
func (b *builder) addresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err == nil && b.family.Of(addr) && !slices.Contains(out, addr.Unmap()) {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

func (b *builder) clusterIPs() []netip.Addr {
	if len(b.svc.Spec.ClusterIPs) == 0 {
		return b.addresses([]string{b.svc.Spec.ClusterIP})
	}
	return b.addresses(b.svc.Spec.ClusterIPs)
}

func (b *builder) externalIPs() []netip.Addr { return b.addresses(b.svc.Spec.ExternalIPs) }

// loadBalancerIPs is the addresses that a load balancer was given, but for those that a proxy in front of the node
// answers (ipMode Proxy, KEP-1860), and those that are external addresses already.
func (b *builder) loadBalancerIPs() []netip.Addr {
	if b.svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var texts []string
	for _, ingress := range b.svc.Status.LoadBalancer.Ingress {
		if deref(ingress.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeVIP {
			texts = append(texts, ingress.IP)
		}
	}
	external := b.externalIPs()
	return slices.DeleteFunc(b.addresses(texts), func(a netip.Addr) bool { return slices.Contains(external, a) })
}

// guard plans the load balancer's source ranges. Ranges inside others are left out, as the kernel refuses overlaps.
func (b *builder) guard(at frontend) {
	if len(b.svc.Spec.LoadBalancerSourceRanges) == 0 {
		return
	}
	b.set(Guarded, at.full())
	for _, prefix := range b.sourceRanges() {
		first, last := nft.Bounds(prefix)
		b.out = append(b.out, Element{ID: ElementID{
			Family: b.family, Map: GuardAllowed, Key: string(at.full().Addr(first)) + string(at.full().Addr(last)),
		}})
	}
}

func (b *builder) sourceRanges() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range b.svc.Spec.LoadBalancerSourceRanges {
		prefix, err := netip.ParsePrefix(text)
		if err == nil && b.family.Of(prefix.Addr()) {
			out = append(out, prefix.Masked())
		}
	}
	return nft.Disjoint(out)
}
