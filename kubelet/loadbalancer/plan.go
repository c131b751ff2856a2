package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Claim is a port of an address of the node.
type Claim struct {
	Address  netip.Addr
	Protocol corev1.Protocol
	Port     int32
}

// Wish is what a Service wants of the node.
type Wish struct {
	Service   *corev1.Service
	Addresses []netip.Addr // of the node, of the Service's families
	Claims    []Claim      // none if there is a problem
	Local     bool         // only where its pods are
	Problem   string       // a line: which port another Service has, and what to do
}

// Plan answers what the Services of type LoadBalancer that are nobody else's want of a node with the addresses, the oldest
// first. No two of them claim the same. known are the addresses of all nodes, also of those that are gone: a Service that has
// another one is somebody else's.
func Plan(services []*corev1.Service, addresses []netip.Addr, known map[string]bool) (out []Wish) {
	owners := map[Claim]*corev1.Service{}
	for _, s := range slices.SortedFunc(slices.Values(services), byAge) {
		foreign := slices.ContainsFunc(s.Status.LoadBalancer.Ingress, func(p corev1.LoadBalancerIngress) bool { return !known[p.IP] })
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.LoadBalancerClass != nil || s.DeletionTimestamp != nil || foreign {
			continue
		}
		w := Wish{Service: s, Local: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal}
		for _, a := range addresses {
			if slices.Contains(s.Spec.IPFamilies, family(a)) || len(s.Spec.IPFamilies) == 0 {
				w.Addresses = append(w.Addresses, a)
			}
		}
		for _, a := range w.Addresses {
			for _, p := range s.Spec.Ports {
				w.Claims = append(w.Claims, Claim{a, p.Protocol, p.Port})
			}
		}
		for _, c := range w.Claims {
			if owner := owners[c]; owner != nil {
				w.Problem = fmt.Sprintf("port %d/%s of the nodes belongs to the older Service %s/%s: give this one another port, or delete that one", c.Port, c.Protocol, owner.Namespace, owner.Name)
			}
		}
		if w.Problem != "" {
			w.Claims = nil
		}
		for _, c := range w.Claims {
			owners[c] = s
		}
		out = append(out, w)
	}
	return out
}

func byAge(a, b *corev1.Service) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

func family(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// Points answers what a Service's status is to be: of what it has, the addresses of other nodes that exist, and now, which is
// some of the node's own or none.
func Points(has []corev1.LoadBalancerIngress, now, own []netip.Addr, nodes map[string]bool) (out []corev1.LoadBalancerIngress) {
	vip := corev1.LoadBalancerIPModeVIP
	for _, point := range has {
		if a, err := netip.ParseAddr(point.IP); nodes[point.IP] && (err != nil || !slices.Contains(own, a)) {
			out = append(out, corev1.LoadBalancerIngress{IP: point.IP, IPMode: &vip})
		}
	}
	for _, a := range now {
		out = append(out, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip})
	}
	slices.SortFunc(out, func(a, b corev1.LoadBalancerIngress) int { return strings.Compare(a.IP, b.IP) })
	return out
}
