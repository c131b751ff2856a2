package discovery

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const (
	maxEndpoints = 1000
	maxPorts     = 20000
	maxAddresses = 100
	maxTopology  = 16
	maxHints     = 8
)

func validateEndpointSlice(_ context.Context, obj, _ *discoveryv1.EndpointSlice) (errs field.ErrorList) {
	if obj.AddressType != "" { // that there is one is declared by the type
		errs = append(errs, validate.Enum(obj.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6).MarkCoveredByDeclarative()...)
	}
	endpoints := field.NewPath("endpoints")
	if len(obj.Endpoints) > maxEndpoints {
		errs = append(errs, field.TooMany(endpoints, len(obj.Endpoints), maxEndpoints))
	} else {
		for i := range obj.Endpoints {
			errs = append(errs, validateEndpoint(&obj.Endpoints[i], obj.AddressType, endpoints.Index(i))...)
		}
	}
	return append(errs, validatePorts(obj.Ports, field.NewPath("ports"))...)
}

func validateEndpoint(e *discoveryv1.Endpoint, kind discoveryv1.AddressType, at *field.Path) (errs field.ErrorList) {
	addresses := at.Child("addresses")
	for i, a := range e.Addresses {
		errs = append(errs, validateAddress(a, kind, addresses.Index(i))...)
	}
	if e.NodeName != nil {
		errs = append(errs, validate.DNSSubdomain(*e.NodeName, at.Child("nodeName"))...)
	}
	topology := at.Child("deprecatedTopology")
	if len(e.DeprecatedTopology) > maxTopology {
		errs = append(errs, field.TooMany(topology, len(e.DeprecatedTopology), maxTopology))
	}
	errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, topology)...)
	if e.Hostname != nil {
		errs = append(errs, validate.DNSLabel(*e.Hostname, at.Child("hostname"))...)
	}
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, at.Child("hints"))...)
	}
	return errs
}

func validateAddress(a string, kind discoveryv1.AddressType, at *field.Path) (errs field.ErrorList) {
	switch kind {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		if errs = utilvalidation.IsValidIPForLegacyField(at, a, true, nil); len(errs) > 0 {
			return errs
		}
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return nil
		}
		if kind == discoveryv1.AddressTypeIPv4 && !ip.Is4() {
			errs = append(errs, field.Invalid(at, a, "must be an IPv4 address"))
		}
		if kind == discoveryv1.AddressTypeIPv6 && !ip.Is6() {
			errs = append(errs, field.Invalid(at, a, "must be an IPv6 address"))
		}
		return append(errs, validateOrdinary(ip, a, at)...)
	case discoveryv1.AddressTypeFQDN:
		return utilvalidation.IsFullyQualifiedDomainName(at, a)
	}
	return nil
}

// validateOrdinary refuses addresses that must never be routed to.
func validateOrdinary(ip netip.Addr, text string, at *field.Path) (errs field.ErrorList) {
	for _, rule := range []struct {
		special bool
		text    string
	}{
		{ip.IsUnspecified(), "may not be unspecified (0.0.0.0 or ::)"},
		{ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if rule.special {
			errs = append(errs, field.Invalid(at, text, rule.text))
		}
	}
	return errs
}

func validateHints(h *discoveryv1.EndpointHints, at *field.Path) (errs field.ErrorList) {
	zones, nodes := at.Child("forZones"), at.Child("forNodes")
	if len(h.ForZones) > maxHints {
		errs = append(errs, field.TooMany(zones, len(h.ForZones), maxHints))
		return errs
	}
	seen := map[string]bool{}
	for i, z := range h.ForZones {
		name := zones.Index(i).Child("name")
		if seen[z.Name] {
			errs = append(errs, field.Duplicate(name, z.Name))
			continue
		}
		seen[z.Name] = true
		errs = append(errs, validate.All(name, z.Name, utilvalidation.IsValidLabelValue(z.Name))...)
	}
	if len(h.ForNodes) > maxHints {
		return append(errs, field.TooMany(nodes, len(h.ForNodes), maxHints))
	}
	seen = map[string]bool{}
	for i, n := range h.ForNodes {
		name := nodes.Index(i).Child("name")
		if seen[n.Name] {
			errs = append(errs, field.Duplicate(name, n.Name))
			continue
		}
		seen[n.Name] = true
		errs = append(errs, validate.DNSSubdomain(n.Name, name)...)
	}
	return errs
}

func validatePorts(ports []discoveryv1.EndpointPort, at *field.Path) (errs field.ErrorList) {
	if len(ports) > maxPorts {
		return field.ErrorList{field.TooMany(at, len(ports), maxPorts)}
	}
	seen := map[string]bool{}
	for i, p := range ports {
		here := at.Index(i)
		if p.Name != nil {
			if *p.Name != "" {
				errs = append(errs, validate.DNSLabel(*p.Name, here.Child("name"))...)
			}
			if seen[*p.Name] {
				errs = append(errs, field.Duplicate(here.Child("name"), *p.Name))
			}
			seen[*p.Name] = true
		}
		if p.Protocol == nil {
			errs = append(errs, field.Required(here.Child("protocol"), ""))
		} else {
			errs = append(errs, validate.Enum(*p.Protocol, here.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, validate.QualifiedName(*p.AppProtocol, here.Child("appProtocol"))...)
		}
	}
	return errs
}
