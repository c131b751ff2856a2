package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoint is one address of a Service, with the name that it has below the Service's.
type endpoint struct {
	host  string
	addr  netip.Addr
	ports []discoveryv1.EndpointPort
}

// endpoints lists the Service's published endpoints, each address once, sorted by address.
func (c *cluster) endpoints(svc *corev1.Service) []endpoint {
	var out []endpoint
	for _, slice := range c.slices(sliceByService, svc.Namespace+"/"+svc.Name) {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			addr, ok := endpointAddr(e)
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ok && (ready || svc.Spec.PublishNotReadyAddresses) {
				out = append(out, endpoint{host: hostOf(e, addr), addr: addr, ports: slice.Ports})
			}
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.host, b.host)) })
	return mergeSame(out)
}

// mergeSame joins reports of one endpoint from several slices; each may know other ports.
func mergeSame(all []endpoint) []endpoint {
	var out []endpoint
	for _, e := range all {
		if last := len(out) - 1; last >= 0 && out[last].addr == e.addr && out[last].host == e.host {
			out[last].ports = slices.Concat(out[last].ports, e.ports)
			continue
		}
		out = append(out, e)
	}
	return out
}

func endpointAddr(e *discoveryv1.Endpoint) (netip.Addr, bool) {
	if len(e.Addresses) == 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	return addr.Unmap(), err == nil
}

// hostOf is the endpoint's own label: its hostname, or its address with dashes.
func hostOf(e *discoveryv1.Endpoint, addr netip.Addr) string {
	if e.Hostname != nil && *e.Hostname != "" {
		return strings.ToLower(*e.Hostname)
	}
	return dashed(addr)
}

func dashed(addr netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
}

// undashed parses the label of a pod's name: an address with dashes.
func undashed(label string) (netip.Addr, bool) {
	if strings.Count(label, "-") == 3 {
		if addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
			return addr, true
		}
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return addr, err == nil && addr.Is6() && addr.Zone() == ""
}

// addresses lists a Service's cluster IPs.
func addresses(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, text := range svc.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
