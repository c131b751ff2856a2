package route

import (
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// servicePort answers the port of a Service by its name, or by its number if it has none.
func servicePort(svc *corev1.Service, name string, number int32) *corev1.ServicePort {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if name != "" && p.Name == name || name == "" && p.Port == number {
			return p
		}
	}
	return nil
}

// protocolOf reads a port's appProtocol (KEP-3726 names those of kubernetes.io).
func protocolOf(port *corev1.ServicePort) Protocol {
	if port.AppProtocol == nil {
		return HTTP
	}
	switch strings.ToLower(*port.AppProtocol) {
	case "kubernetes.io/h2c", "grpc":
		return H2C
	case "kubernetes.io/wss", "https":
		return HTTPS
	default:
		return HTTP
	}
}

// endpoints are the addresses behind a Service's port: those that are ready or, as long as there are none, those that
// still serve while they end (KEP-1669). Of two families that of the Service's own address counts.
func endpoints(svc *corev1.Service, port *corev1.ServicePort, all []*discoveryv1.EndpointSlice) []string {
	var ready, ending []string
	for _, slice := range all {
		if slice.AddressType == discoveryv1.AddressTypeFQDN || len(svc.Spec.IPFamilies) > 0 && string(slice.AddressType) != string(svc.Spec.IPFamilies[0]) {
			continue
		}
		for _, p := range slice.Ports {
			if p.Port == nil || deref(p.Name, "") != port.Name || deref(p.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP {
				continue
			}
			for _, e := range slice.Endpoints {
				if len(e.Addresses) == 0 {
					continue
				}
				at := net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port)))
				if c := e.Conditions; deref(c.Ready, true) {
					ready = append(ready, at)
				} else if deref(c.Serving, false) && deref(c.Terminating, false) {
					ending = append(ending, at)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
