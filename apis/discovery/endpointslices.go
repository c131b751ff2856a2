package discovery

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/discovery/v1"
	"skiff/apis/resource"
)

func endpointSlices() resource.Definition[*discoveryv1.EndpointSlice] {
	type S = *discoveryv1.EndpointSlice
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return resource.Definition[S]{
		Resource: discoveryv1.SchemeGroupVersion.WithResource("endpointslices"),
		Kind:     "EndpointSlice",
		Singular: "endpointslice",
		Object:   &discoveryv1.EndpointSlice{},
		List:     &discoveryv1.EndpointSliceList{},
		Register: declared.RegisterValidations,
		Name:     validation.NameIsDNSSubdomain,
		Default:  defaultEndpointSlice,
		Prepare:  prepareEndpointSlice,
		Validate: validateEndpointSlice,
		Warn:     warnEndpointSlice,
		Columns: []resource.Column[S]{
			{Name: "AddressType", Type: "string", Help: doc["addressType"], Value: func(s S) any { return string(s.AddressType) }},
			{Name: "Ports", Type: "string", Help: doc["ports"], Value: func(s S) any { return portsOf(s) }},
			{Name: "Endpoints", Type: "string", Help: doc["endpoints"], Value: func(s S) any { return addressesOf(s) }},
		},
	}
}

// warnEndpointSlice warns of addresses that parsers read differently; the
// controllers' own slices have none.
func warnEndpointSlice(_ context.Context, s, old *discoveryv1.EndpointSlice) (out []string) {
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		out = append(out, "spec.addressType: FQDN endpoints are deprecated")
	}
	if by := s.Labels[discoveryv1.LabelManagedBy]; by == "endpointslice-controller.k8s.io" || by == "endpointslicemirroring-controller.k8s.io" {
		return out
	}
	for i, e := range s.Endpoints {
		for j, ip := range e.Addresses {
			out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), ip)...)
		}
	}
	return out
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = new(string)
		}
		if p.Protocol == nil {
			tcp := corev1.ProtocolTCP
			p.Protocol = &tcp
		}
	}
}

// prepareEndpointSlice counts the generation, by what was sent, and drops
// deprecatedTopology, which v1 only keeps where it is stored already.
func prepareEndpointSlice(_ context.Context, obj, old *discoveryv1.EndpointSlice) {
	obj.Generation = 1
	if old != nil {
		if obj.Generation = old.Generation; changed(obj, old) {
			obj.Generation++
		}
		for _, e := range old.Endpoints {
			if len(e.DeprecatedTopology) > 0 && equality.Semantic.DeepEqual(obj.Endpoints, old.Endpoints) {
				return
			}
		}
	}
	for i := range obj.Endpoints {
		obj.Endpoints[i].DeprecatedTopology = nil
	}
}

// changed reports whether the slice says something else than before.
func changed(obj, old *discoveryv1.EndpointSlice) bool {
	return obj.AddressType != old.AddressType || !equality.Semantic.DeepEqual(obj.Labels, old.Labels) ||
		!equality.Semantic.DeepEqual(obj.Endpoints, old.Endpoints) || !equality.Semantic.DeepEqual(obj.Ports, old.Ports)
}

const shown = 3

func portsOf(s *discoveryv1.EndpointSlice) string {
	var list []string
	for _, p := range s.Ports {
		text := "*"
		switch {
		case p.Port != nil:
			text = strconv.Itoa(int(*p.Port))
		case p.Name != nil:
			text = *p.Name
		}
		list = append(list, text)
	}
	return firstOf(list)
}

func addressesOf(s *discoveryv1.EndpointSlice) string {
	var list []string
	for _, e := range s.Endpoints {
		list = append(list, e.Addresses...)
	}
	return firstOf(list)
}

func firstOf(list []string) string {
	switch {
	case len(list) > shown:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ","), len(list)-shown)
	case strings.Join(list, ",") == "":
		return "<unset>"
	}
	return strings.Join(list, ",")
}
