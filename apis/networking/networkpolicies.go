package networking

import (
	"context"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func networkPolicies() resource.Definition[*networkingv1.NetworkPolicy] {
	type P = *networkingv1.NetworkPolicy
	return resource.Definition[P]{
		Resource:   group.WithResource("networkpolicies"),
		Kind:       "NetworkPolicy",
		Singular:   "networkpolicy",
		ShortNames: []string{"netpol"},
		Object:     &networkingv1.NetworkPolicy{},
		List:       &networkingv1.NetworkPolicyList{},
		Register:   register,
		Name:       validation.NameIsDNSSubdomain,
		NameOnce:   true,
		Default:    defaultNetworkPolicy,
		Validate:   validateNetworkPolicy,
		Warn:       warnNetworkPolicy,
		Spec:       func(p P) any { return &p.Spec },
		Changed:    func(obj, old P) bool { return !reflect.DeepEqual(obj.Spec, old.Spec) },
		Columns: []resource.Column[P]{
			{Name: "Pod-Selector", Type: "string", Help: networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"], Value: func(p P) any {
				return metav1.FormatLabelSelector(&p.Spec.PodSelector)
			}},
		},
	}
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	for i := range p.Spec.Ingress {
		defaultPolicyPorts(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		defaultPolicyPorts(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

func defaultPolicyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			tcp := corev1.ProtocolTCP
			ports[i].Protocol = &tcp
		}
	}
}

func validateNetworkPolicy(_ context.Context, obj, _ *networkingv1.NetworkPolicy) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	errs = append(errs, validateSelector(&s.PodSelector, at.Child("podSelector"))...)
	for i, r := range s.Ingress {
		here := at.Child("ingress").Index(i)
		errs = append(errs, validatePolicyRule(r.Ports, r.From, here, here.Child("from"))...)
	}
	for i, r := range s.Egress {
		here := at.Child("egress").Index(i)
		errs = append(errs, validatePolicyRule(r.Ports, r.To, here, here.Child("to"))...)
	}
	types := at.Child("policyTypes")
	if len(s.PolicyTypes) > 2 {
		return append(errs, field.Invalid(types, &s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range s.PolicyTypes {
		errs = append(errs, validate.Enum(t, types.Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
}

func validatePolicyRule(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, at, peersAt *field.Path) (errs field.ErrorList) {
	for i := range ports {
		errs = append(errs, validatePolicyPort(&ports[i], at.Child("ports").Index(i))...)
	}
	for i := range peers {
		errs = append(errs, validatePeer(&peers[i], peersAt.Index(i))...)
	}
	return errs
}

func validatePolicyPort(p *networkingv1.NetworkPolicyPort, at *field.Path) (errs field.ErrorList) {
	if p.Protocol != nil {
		errs = append(errs, validate.Enum(*p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	port, end := at.Child("port"), at.Child("endPort")
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
		}
	case p.Port.Type == intstr.Int:
		errs = append(errs, validate.Port(p.Port.IntVal, port)...)
		if p.EndPort == nil {
			break
		}
		if *p.EndPort < p.Port.IntVal {
			errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
		}
		errs = append(errs, validate.Port(*p.EndPort, end)...)
	default:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		}
		errs = append(errs, validate.All(port, p.Port.StrVal, utilvalidation.IsValidPortName(p.Port.StrVal))...)
	}
	return errs
}

func validatePeer(p *networkingv1.NetworkPolicyPeer, at *field.Path) (errs field.ErrorList) {
	peers := 0
	if p.PodSelector != nil {
		peers++
		errs = append(errs, validateSelector(p.PodSelector, at.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		peers++
		errs = append(errs, validateSelector(p.NamespaceSelector, at.Child("namespaceSelector"))...)
	}
	if p.IPBlock != nil {
		peers++
		errs = append(errs, validateIPBlock(p.IPBlock, at.Child("ipBlock"))...)
	}
	switch {
	case peers == 0:
		errs = append(errs, field.Required(at, "must specify a peer"))
	case peers > 1 && p.IPBlock != nil:
		errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
	}
	return errs
}

func validateIPBlock(b *networkingv1.IPBlock, at *field.Path) (errs field.ErrorList) {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "").MarkCoveredByDeclarative()}
	}
	errs = utilvalidation.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, true, nil)
	_, block, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return errs
	}
	bits, _ := block.Mask.Size()
	for i, except := range b.Except {
		here := at.Child("except").Index(i)
		errs = append(errs, utilvalidation.IsValidCIDRForLegacyField(here, except, true, nil)...)
		_, part, err := netutils.ParseCIDRSloppy(except)
		if err != nil {
			continue
		}
		if partBits, _ := part.Mask.Size(); !block.Contains(part.IP) || partBits <= bits {
			errs = append(errs, field.Invalid(here, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func warnNetworkPolicy(_ context.Context, p, _ *networkingv1.NetworkPolicy) (out []string) {
	block := func(b *networkingv1.IPBlock, at *field.Path) {
		if b == nil {
			return
		}
		out = append(out, utilvalidation.GetWarningsForCIDR(at.Child("cidr"), b.CIDR)...)
		for i, except := range b.Except {
			out = append(out, utilvalidation.GetWarningsForCIDR(at.Child("except").Index(i), except)...)
		}
	}
	spec := field.NewPath("spec")
	for i, rule := range p.Spec.Ingress {
		for j, peer := range rule.From {
			block(peer.IPBlock, spec.Child("ingress").Index(i).Child("from").Index(j).Child("ipBlock"))
		}
	}
	for i, rule := range p.Spec.Egress {
		for j, peer := range rule.To {
			block(peer.IPBlock, spec.Child("egress").Index(i).Child("to").Index(j).Child("ipBlock"))
		}
	}
	return out
}
