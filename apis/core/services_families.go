package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"
)

// settleFamilies brings the addresses, the IP families and their policy into
// agreement; they say what is then allocated. The order of the steps decides
// which errors are seen.
func (a *allocator) settleFamilies(s, old *corev1.Service) (errs field.ErrorList) {
	if !needsClusterIP(s) || settledFamilies(s, old) {
		return nil
	}
	inferPolicy(s, old)
	path := field.NewPath("spec")
	if errs := validateClusterIPs(s, old, path); len(errs) > 0 {
		return errs
	}
	errs = reduceFamilies(s, old, path.Child("ipFamilyPolicy"))
	errs = append(errs, singleFamily(&s.Spec, path.Child("ipFamilyPolicy"))...)
	errs = append(errs, a.inferFamilies(&s.Spec, path.Child("clusterIPs"))...)
	if len(errs) > 0 {
		return errs
	}
	if s.Spec.ClusterIP == corev1.ClusterIPNone && len(s.Spec.Selector) == 0 {
		freeFamilies(&s.Spec, a.families[0])
		return nil
	}
	return a.ownFamilies(&s.Spec, path)
}

// settledFamilies reports whether a service that prefers two families is left
// with what it has: only an explicit change adds or takes a family.
func settledFamilies(s, old *corev1.Service) bool {
	return old != nil && policyOf(s) == corev1.IPFamilyPolicyPreferDualStack && old.Spec.Type == s.Spec.Type &&
		(old.Spec.IPFamilyPolicy == nil || *old.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack) &&
		slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies)
}

func inferPolicy(s, old *corev1.Service) {
	if s.Spec.IPFamilyPolicy != nil {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		policy = *old.Spec.IPFamilyPolicy
	case s.Spec.ClusterIP == corev1.ClusterIPNone && len(s.Spec.Selector) == 0:
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	s.Spec.IPFamilyPolicy = &policy
}

// reduceFamilies takes the second family from a service that is to have one,
// and refuses to take it from any other.
func reduceFamilies(s, old *corev1.Service, policy *field.Path) (errs field.ErrorList) {
	if old == nil {
		return nil
	}
	now, before := &s.Spec, &old.Spec
	if *now.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if slices.Equal(now.ClusterIPs, before.ClusterIPs) && len(now.ClusterIPs) > 1 {
			now.ClusterIPs = now.ClusterIPs[:1]
		}
		if slices.Equal(now.IPFamilies, before.IPFamilies) && len(now.IPFamilies) > 1 {
			now.IPFamilies = now.IPFamilies[:1]
		}
		return nil
	}
	if n := len(now.ClusterIPs); n > 0 && n < len(before.ClusterIPs) {
		errs = append(errs, field.Invalid(policy, now.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
	}
	if n := len(now.IPFamilies); n > 0 && n < len(before.IPFamilies) {
		errs = append(errs, field.Invalid(policy, now.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

func singleFamily(spec *corev1.ServiceSpec, policy *field.Path) (errs field.ErrorList) {
	const text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple "
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	if len(spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(policy, spec.IPFamilyPolicy, text+"cluster IPs are specified"))
	}
	if len(spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(policy, spec.IPFamilyPolicy, text+"IP families are specified"))
	}
	return errs
}

// inferFamilies completes the families from the addresses.
func (a *allocator) inferFamilies(spec *corev1.ServiceSpec, path *field.Path) (errs field.ErrorList) {
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			break
		}
		if i < len(spec.IPFamilies) {
			continue
		}
		family := corev1.IPv4Protocol
		if utilnet.IsIPv6String(ip) {
			family = corev1.IPv6Protocol
		}
		if !slices.Contains(a.families, family) {
			errs = append(errs, field.Invalid(path.Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		spec.IPFamilies = append(spec.IPFamilies, family)
	}
	return errs
}

// freeFamilies leaves a headless service without selector its families: what
// its endpoints are is not the cluster's to say.
func freeFamilies(spec *corev1.ServiceSpec, family corev1.IPFamily) {
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{family}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 {
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), otherFamily(spec.IPFamilies[0]))
	}
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv6Protocol {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// ownFamilies holds any other service to the families the cluster has.
func (a *allocator) ownFamilies(spec *corev1.ServiceSpec, path *field.Path) (errs field.ErrorList) {
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(a.families) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range spec.IPFamilies {
		if !slices.Contains(a.families, f) {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.families[0]}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && len(a.families) == 2 {
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), otherFamily(spec.IPFamilies[0]))
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
	if s.Spec.ClusterIP != "" && (len(s.Spec.ClusterIPs) == 0 || slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs)) {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
}
