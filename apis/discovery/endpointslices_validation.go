package discovery

import (
	"context"
	"net"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff/apis/validate"
)

const (
	maxEndpoints = 1000
	maxPorts     = 20000
	maxAddresses = 100
	maxTopology  = 16
	maxHints     = 8
)

func validateEndpointSlice(_ context.Context, obj, old *discoveryv1.EndpointSlice) (errs field.ErrorList) {
	if obj.AddressType != "" { // that there is one is declared by the type
		errs = append(errs, validate.Enum(obj.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6).MarkCoveredByDeclarative()...)
	}
	errs = append(errs, validatePorts(obj.Ports, field.NewPath("ports"))...)
	endpoints := field.NewPath("endpoints")
	if len(obj.Endpoints) > maxEndpoints {
		return append(errs, field.TooMany(endpoints, len(obj.Endpoints), maxEndpoints))
	}
	var bad field.ErrorList
	for i := range obj.Endpoints {
		bad = append(bad, validateEndpoint(&obj.Endpoints[i], obj.AddressType, endpoints.Index(i))...)
	}
	if len(bad) > 0 && old != nil && equality.Semantic.DeepEqual(old.Endpoints, obj.Endpoints) {
		return errs // older servers let them in
	}
	return append(errs, bad...)
}

func validateEndpoint(e *discoveryv1.Endpoint, kind discoveryv1.AddressType, at *field.Path) (errs field.ErrorList) {
	addresses := at.Child("addresses")
	for i, a := range e.Addresses {
		errs = append(errs, validateAddress(a, kind, addresses, i)...)
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

func validateAddress(a string, kind discoveryv1.AddressType, list *field.Path, i int) (errs field.ErrorList) {
	at := list.Index(i)
	switch kind {
	case discoveryv1.AddressTypeIPv4:
		if errs = utilvalidation.IsValidIPForLegacyField(at, a, true, nil); len(errs) > 0 {
			return errs
		}
		if !netutils.IsIPv4String(a) {
			errs = append(errs, field.Invalid(list, a, "must be an IPv4 address"))
		}
	case discoveryv1.AddressTypeIPv6:
		if errs = utilvalidation.IsValidIP(at, a); len(errs) > 0 {
			return errs
		}
		if !netutils.IsIPv6String(a) {
			errs = append(errs, field.Invalid(list, a, "must be an IPv6 address"))
		}
	case discoveryv1.AddressTypeFQDN:
		return utilvalidation.IsFullyQualifiedDomainName(at, a)
	default:
		return nil
	}
	return append(errs, validateOrdinary(netutils.ParseIPSloppy(a), a, at)...)
}

// validateOrdinary refuses addresses that must never be routed to.
func validateOrdinary(ip net.IP, text string, at *field.Path) (errs field.ErrorList) {
	for _, rule := range []struct {
		special bool
		text    string
	}{
		{ip.IsUnspecified(), "may not be unspecified (" + text + ")"},
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
