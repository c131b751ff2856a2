package networking

import (
	"context"
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func ipAddresses() resource.Definition[*networkingv1.IPAddress] {
	type A = *networkingv1.IPAddress
	return resource.Definition[A]{
		Resource:      group.WithResource("ipaddresses"),
		Kind:          "IPAddress",
		Singular:      "ipaddress",
		ShortNames:    []string{"ip"},
		ClusterScoped: true,
		Object:        &networkingv1.IPAddress{},
		List:          &networkingv1.IPAddressList{},
		Register:      register,
		Name:          nameIsIP,
		Validate:      validateIPAddress,
		Columns: []resource.Column[A]{
			{Name: "ParentRef", Type: "string", Help: networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"], Value: func(a A) any { return parentOf(a.Spec.ParentRef) }},
			resource.HeadlessAge[A](),
		},
	}
}

// nameIsIP demands the one canonical form of an address, so that a name is one
// address and an address one name.
func nameIsIP(name string, _ bool) (out []string) {
	for _, e := range utilvalidation.IsValidIP(nil, name) {
		out = append(out, e.Detail)
	}
	return out
}

func parentOf(r *networkingv1.ParentReference) string {
	if r == nil {
		return "<none>"
	}
	out := r.Resource
	if r.Group != "" {
		out += "." + r.Group
	}
	if r.Namespace != "" {
		out += "/" + r.Namespace
	}
	return out + "/" + r.Name
}

func validateIPAddress(_ context.Context, obj, _ *networkingv1.IPAddress) (errs field.ErrorList) {
	at, r := field.NewPath("spec", "parentRef"), obj.Spec.ParentRef
	if r == nil {
		return field.ErrorList{field.Required(at, "").MarkCoveredByDeclarative()}
	}
	if r.Group != "" {
		errs = append(errs, validate.DNSSubdomain(r.Group, at.Child("group"))...)
	}
	errs = append(errs, declaredSegment(r.Resource, at.Child("resource"))...)
	errs = append(errs, declaredSegment(r.Name, at.Child("name"))...)
	if r.Namespace != "" {
		errs = append(errs, validateSegment(r.Namespace, at.Child("namespace"))...)
	}
	return errs
}

// declaredSegment is validateSegment for a field that is declared required.
func declaredSegment(value string, at *field.Path) field.ErrorList {
	errs := validateSegment(value, at)
	if value == "" {
		return errs.MarkCoveredByDeclarative()
	}
	return errs
}

func serviceCIDRs() resource.Definition[*networkingv1.ServiceCIDR] {
	type C = *networkingv1.ServiceCIDR
	return resource.Definition[C]{
		Resource:          group.WithResource("servicecidrs"),
		Kind:              "ServiceCIDR",
		Singular:          "servicecidr",
		ClusterScoped:     true,
		Object:            &networkingv1.ServiceCIDR{},
		List:              &networkingv1.ServiceCIDRList{},
		Register:          register,
		Name:              validation.NameIsDNSSubdomain,
		NameOnce:          true,
		Validate:          validateServiceCIDR,
		Spec:              func(c C) any { return &c.Spec },
		NoGeneration:      true,
		Status:            func(c C) any { return &c.Status },
		StatusResetFields: []string{"metadata", "spec"},
		PrepareStatus: func(_ context.Context, obj, old C) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus: func(_ context.Context, obj, old C) field.ErrorList {
			return validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
		},
		Columns: []resource.Column[C]{
			{Name: "CIDRs", Type: "string", Help: networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"], Value: func(c C) any { return strings.Join(c.Spec.CIDRs, ",") }},
		},
	}
}

func validateServiceCIDR(_ context.Context, obj, old *networkingv1.ServiceCIDR) (errs field.ErrorList) {
	at, cidrs := field.NewPath("spec", "cidrs"), obj.Spec.CIDRs
	if old == nil {
		return validateCIDRs(cidrs, at)
	}
	// nothing may change, but a second family may be added
	before := old.Spec.CIDRs
	added := len(before) == 1 && len(cidrs) == 2
	if !added && len(cidrs) != len(before) {
		return field.ErrorList{field.Invalid(at, cidrs, validation.FieldImmutableErrorMsg)}
	}
	for i := range before {
		if cidrs[i] != before[i] {
			errs = append(errs, field.Invalid(at.Index(i), cidrs[i], validation.FieldImmutableErrorMsg))
		}
	}
	if added {
		errs = append(errs, validateCIDRs(cidrs, at)...)
	}
	return errs
}

func validateCIDRs(cidrs []string, at *field.Path) (errs field.ErrorList) {
	switch {
	case len(cidrs) == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case len(cidrs) > 2:
		return field.ErrorList{field.Invalid(at, struct{ CIDRs []string }{cidrs}, "may only hold up to 2 values")}
	}
	for i, c := range cidrs {
		errs = append(errs, utilvalidation.IsValidCIDR(at.Index(i), c)...)
	}
	if len(cidrs) == 2 && sameFamily(cidrs[0], cidrs[1]) {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}

func sameFamily(a, b string) bool {
	x, err1 := netip.ParsePrefix(a)
	y, err2 := netip.ParsePrefix(b)
	return err1 == nil && err2 == nil && x.Addr().Is4() == y.Addr().Is4()
}
