package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"
)

// family is the one IP family that cluster IPs are allocated of.
func (a *allocator) family() corev1.IPFamily {
	if a.cidr.Addr().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// families brings clusterIP and clusterIPs, and the IP families and their
// policy, into agreement; they say what is then allocated.
func (a *allocator) families(s, old *corev1.Service) (errs field.ErrorList) {
	normalizeClusterIPs(s, old)
	if !needsClusterIP(s) {
		return nil
	}
	spec := &s.Spec
	for i, ip := range spec.ClusterIPs {
		parsed := utilnet.ParseIPSloppy(ip)
		if ip == corev1.ClusterIPNone {
			continue
		}
		if parsed == nil {
			return nil // validation speaks about what is no address
		}
		got := corev1.IPv4Protocol
		if utilnet.IsIPv6(parsed) {
			got = corev1.IPv6Protocol
		}
		if i >= len(spec.IPFamilies) {
			spec.IPFamilies = append(spec.IPFamilies, got)
		}
	}
	headless := len(spec.ClusterIPs) > 0 && spec.ClusterIPs[0] == corev1.ClusterIPNone
	if headless && len(spec.Selector) == 0 {
		freeFamilies(spec, a.family())
		return nil
	}
	return a.ownFamilies(spec)
}

// freeFamilies leaves a headless service without selector its families: what
// its endpoints are is not the cluster's to say.
func freeFamilies(spec *corev1.ServiceSpec, family corev1.IPFamily) {
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicyRequireDualStack
		if len(spec.IPFamilies) == 1 {
			policy = corev1.IPFamilyPolicySingleStack
		}
		spec.IPFamilyPolicy = &policy
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{family}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 {
		other := corev1.IPv6Protocol
		if spec.IPFamilies[0] == corev1.IPv6Protocol {
			other = corev1.IPv4Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, other)
	}
}

// ownFamilies holds any other service to the families the cluster has.
func (a *allocator) ownFamilies(spec *corev1.ServiceSpec) (errs field.ErrorList) {
	path := field.NewPath("spec")
	if spec.IPFamilyPolicy != nil && *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	if spec.IPFamilyPolicy != nil && *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be RequireDualStack or PreferDualStack when multiple IP families are specified"))
	}
	for i, f := range spec.IPFamilies {
		if f != a.family() && (f == corev1.IPv4Protocol || f == corev1.IPv6Protocol) {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if spec.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		spec.IPFamilyPolicy = &single
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.family()}
	}
	return nil
}

// normalizeClusterIPs makes clusterIPs follow clusterIP where the client knows
// only the older field.
func normalizeClusterIPs(s, old *corev1.Service) {
	if old == nil {
		if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
		}
		return
	}
	if s.Spec.ClusterIP == old.Spec.ClusterIP {
		return
	}
	if s.Spec.ClusterIP == "" && slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
		s.Spec.ClusterIPs = nil
	}
	if s.Spec.ClusterIP != "" && slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
}
