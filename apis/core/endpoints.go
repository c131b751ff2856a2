package core

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func endpoints() resource.Resource {
	return resource.Definition[*corev1.Endpoints]{
		Resource:       corev1.SchemeGroupVersion.WithResource("endpoints"),
		Kind:           "Endpoints",
		Singular:       "endpoints",
		ShortNames:     []string{"ep"},
		Object:         &corev1.Endpoints{},
		List:           &corev1.EndpointsList{},
		Name:           apivalidation.NameIsDNSSubdomain,
		Default:        defaultEndpoints,
		Validate:       validateEndpoints,
		Warn:           warnEndpoints,
		CreateOnUpdate: true,
		Columns: []resource.Column[*corev1.Endpoints]{
			{Name: "Endpoints", Type: "string", Help: corev1.Endpoints{}.SwaggerDoc()["subsets"], Value: func(e *corev1.Endpoints) any { return endpointList(e.Subsets) }},
		},
	}
}

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			if p := &e.Subsets[i].Ports[j]; p.Protocol == "" {
				p.Protocol = corev1.ProtocolTCP
			}
		}
	}
}

func warnEndpoints(_ context.Context, obj, _ *corev1.Endpoints) (out []string) {
	out = append(out, "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
	path := field.NewPath("subsets")
	for i := range obj.Subsets {
		for j, a := range obj.Subsets[i].Addresses {
			out = append(out, validation.GetWarningsForIP(path.Index(i).Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range obj.Subsets[i].NotReadyAddresses {
			out = append(out, validation.GetWarningsForIP(path.Index(i).Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return out
}

// validateEndpoints checks the subsets when they changed.
func validateEndpoints(_ context.Context, obj, old *corev1.Endpoints) (errs field.ErrorList) {
	known := map[string]bool{}
	if old != nil {
		for _, s := range old.Subsets {
			for _, a := range s.Addresses {
				known[a.IP] = true
			}
			for _, a := range s.NotReadyAddresses {
				known[a.IP] = true
			}
		}
	}
	for i := range obj.Subsets {
		errs = append(errs, validateSubset(&obj.Subsets[i], known, field.NewPath("subsets").Index(i))...)
	}
	return errs
}

func validateSubset(s *corev1.EndpointSubset, known map[string]bool, path *field.Path) (errs field.ErrorList) {
	if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
		errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
	}
	for i := range s.Addresses {
		errs = append(errs, validateEndpointAddress(&s.Addresses[i], known, path.Child("addresses").Index(i))...)
	}
	for i := range s.NotReadyAddresses {
		errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[i], known, path.Child("notReadyAddresses").Index(i))...)
	}
	for i := range s.Ports {
		errs = append(errs, validateEndpointPort(&s.Ports[i], len(s.Ports) > 1, path.Child("ports").Index(i))...)
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, known map[string]bool, path *field.Path) (errs field.ErrorList) {
	ip := path.Child("ip")
	if !known[a.IP] {
		errs = append(errs, validation.IsValidIPForLegacyField(ip, a.IP, true, nil)...)
	}
	if a.Hostname != "" {
		errs = append(errs, validate.DNSLabel(a.Hostname, path.Child("hostname"))...)
	}
	if a.NodeName != nil {
		errs = append(errs, validate.All(path.Child("nodeName"), *a.NodeName, apivalidation.NameIsDNSSubdomain(*a.NodeName, false))...)
	}
	return append(errs, validateEndpointIP(a.IP, ip)...)
}

// validateEndpointIP refuses addresses that reach nothing but the node itself.
func validateEndpointIP(value string, path *field.Path) (errs field.ErrorList) {
	ip := utilnet.ParseIPSloppy(value)
	switch {
	case ip == nil:
		return field.ErrorList{field.Invalid(path, value, "must be a valid IP address")}
	case ip.IsUnspecified():
		errs = append(errs, field.Invalid(path, value, fmt.Sprintf("may not be unspecified (%v)", value)))
	case ip.IsLoopback():
		errs = append(errs, field.Invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
	case ip.IsLinkLocalUnicast():
		errs = append(errs, field.Invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
	case ip.IsLinkLocalMulticast():
		errs = append(errs, field.Invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
	}
	return errs
}

func validateEndpointPort(p *corev1.EndpointPort, named bool, path *field.Path) (errs field.ErrorList) {
	if p.Name != "" {
		errs = append(errs, validate.DNSLabel(p.Name, path.Child("name"))...)
	} else if named {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, validate.Port(p.Port, path.Child("port"))...)
	errs = append(errs, validate.RequiredEnum(p.Protocol, path.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
	if p.AppProtocol != nil {
		errs = append(errs, validate.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

// endpointList prints the first three ready addresses.
func endpointList(subsets []corev1.EndpointSubset) string {
	const limit = 3
	var list []string
	count := 0
	add := func(s string) {
		if count++; len(list) < limit {
			list = append(list, s)
		}
	}
	for _, s := range subsets {
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 {
				add(a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				add(net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	switch out := strings.Join(list, ","); {
	case len(list) == 0:
		return "<none>"
	case count > limit:
		return fmt.Sprintf("%s + %d more...", out, count-limit)
	default:
		return out
	}
}
