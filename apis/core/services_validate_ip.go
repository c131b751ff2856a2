package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"skiff/apis/validate"
)

// validateAddressChange lets a service gain and release its second address and
// family, and keep the first.
func validateAddressChange(s, old *corev1.Service, spec *field.Path) (errs field.ErrorList) {
	was, is := isHeadless(old), isHeadless(s)
	if !was || !is {
		errs = append(errs, validateFirstKept(s.Spec.ClusterIPs, old.Spec.ClusterIPs, s.Spec.IPFamilyPolicy, "clusterIP", spec)...)
	}
	if !was && !is {
		errs = append(errs, validateFirstKept(s.Spec.IPFamilies, old.Spec.IPFamilies, s.Spec.IPFamilyPolicy, "ipFamily", spec)...)
	}
	return errs
}

func validateFirstKept[T comparable](now, before []T, policy *corev1.IPFamilyPolicy, what string, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child(map[string]string{"clusterIP": "clusterIPs", "ipFamily": "ipFamilies"}[what])
	if len(now) == 0 && len(before) > 0 {
		errs = append(errs, field.Invalid(path.Index(0), now, "primary "+what+" can not be unset"))
	}
	for i := range min(len(now), len(before)) {
		if now[i] != before[i] && (i == 0 || len(now) == len(before)) {
			errs = append(errs, field.Invalid(path.Index(i), now, "may not change once set"))
		}
	}
	released := len(now) == 1 && len(before) > 1
	if released && (policy == nil || *policy != corev1.IPFamilyPolicySingleStack) {
		errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), policy, "must be set to 'SingleStack' when releasing the secondary "+what))
	}
	return errs
}

// validateClusterIPs checks clusterIP, clusterIPs and the IP families together.
func validateClusterIPs(s, old *corev1.Service, spec *field.Path) (errs field.ErrorList) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil // each field was refused by the type's own check
	}
	ips := spec.Child("clusterIPs")
	switch {
	case s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(ips, s.Spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(ips, ""))
	case len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] != s.Spec.ClusterIP:
		errs = append(errs, field.Invalid(ips, s.Spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	errs = append(errs, validateFamilies(s, spec)...)
	var known []string
	if old != nil {
		known = old.Spec.ClusterIPs
	}
	bad := false
	for i, ip := range s.Spec.ClusterIPs {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(s.Spec.ClusterIPs) > 1 {
				bad = true
				errs = append(errs, field.Invalid(ips, s.Spec.ClusterIPs, "'None' must be the first and only value"))
			}
			continue
		}
		wrong := validation.IsValidIPForLegacyField(ips.Index(i), ip, true, known)
		bad = bad || len(wrong) > 0
		errs = append(errs, wrong...)
	}
	if len(s.Spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, s.Spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if bad {
		return errs
	}
	if len(s.Spec.ClusterIPs) > 1 {
		if dual, err := utilnet.IsDualStackIPStrings(s.Spec.ClusterIPs); err == nil && !dual {
			errs = append(errs, field.Invalid(ips, s.Spec.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	return append(errs, validateFamilyOfIPs(s, ips)...)
}

func validateFamilies(s *corev1.Service, spec *field.Path) (errs field.ErrorList) {
	if p := s.Spec.IPFamilyPolicy; p != nil {
		errs = append(errs, validate.Enum(*p, spec.Child("ipFamilyPolicy"), corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
	}
	for i, f := range s.Spec.IPFamilies {
		path := spec.Child("ipFamilies").Index(i)
		errs = append(errs, validate.Enum(f, path, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if slices.Contains(s.Spec.IPFamilies[:i], f) {
			errs = append(errs, field.Duplicate(path, f))
		}
	}
	return errs
}

// validateFamilyOfIPs checks that each address is of the family at its index.
func validateFamilyOfIPs(s *corev1.Service, ips *field.Path) (errs field.ErrorList) {
	for i, ip := range s.Spec.ClusterIPs {
		parsed := utilnet.ParseIPSloppy(ip)
		if parsed == nil || i >= len(s.Spec.IPFamilies) {
			continue
		}
		v6 := utilnet.IsIPv6(parsed)
		if s.Spec.IPFamilies[i] == corev1.IPv4Protocol && v6 {
			errs = append(errs, field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an IPv4 value as indicated by `ipFamilies[%v]`", i)))
		}
		if s.Spec.IPFamilies[i] == corev1.IPv6Protocol && !v6 {
			errs = append(errs, field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an IPv6 value as indicated by `ipFamilies[%v]`", i)))
		}
	}
	return errs
}

func validateLoadBalancer(s, old *corev1.Service, spec *field.Path) (errs field.ErrorList) {
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	const text = "may only be used when `type` is 'LoadBalancer'"
	if len(s.Spec.LoadBalancerSourceRanges) > 0 {
		path := spec.Child("LoadBalancerSourceRanges")
		if !balanced {
			errs = append(errs, field.Forbidden(path, text))
		}
		// these may be padded with spaces, as they could in the annotation
		var known []string
		if old != nil {
			for _, cidr := range old.Spec.LoadBalancerSourceRanges {
				known = append(known, strings.TrimSpace(cidr))
			}
		}
		for i, cidr := range s.Spec.LoadBalancerSourceRanges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), strings.TrimSpace(cidr), true, known)...)
		}
	}
	switch {
	case balanced && s.Spec.AllocateLoadBalancerNodePorts == nil:
		errs = append(errs, field.Required(spec.Child("allocateLoadBalancerNodePorts"), ""))
	case !balanced && s.Spec.AllocateLoadBalancerNodePorts != nil:
		errs = append(errs, field.Forbidden(spec.Child("allocateLoadBalancerNodePorts"), text))
	}
	if class := s.Spec.LoadBalancerClass; class != nil {
		if !balanced {
			errs = append(errs, field.Forbidden(spec.Child("loadBalancerClass"), text))
		}
		errs = append(errs, validate.QualifiedName(*class, spec.Child("loadBalancerClass"))...)
	}
	return errs
}

func validateTraffic(s *corev1.Service, spec *field.Path) (errs field.ErrorList) {
	external, outside := s.Spec.ExternalTrafficPolicy, reachedFromOutside(s)
	if outside {
		errs = append(errs, validate.RequiredEnum(external, spec.Child("externalTrafficPolicy"), corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	} else if external != "" {
		errs = append(errs, field.Invalid(spec.Child("externalTrafficPolicy"), external, "may only be set for externally-accessible services"))
	}
	if needsHealthPort(s) {
		if n := s.Spec.HealthCheckNodePort; n == 0 {
			errs = append(errs, field.Required(spec.Child("healthCheckNodePort"), ""))
		} else {
			errs = append(errs, validate.Port(n, spec.Child("healthCheckNodePort"))...)
		}
	} else if n := s.Spec.HealthCheckNodePort; n != 0 {
		errs = append(errs, field.Invalid(spec.Child("healthCheckNodePort"), n, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	internal := spec.Child("internalTrafficPolicy")
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		if s.Spec.Type == corev1.ServiceTypeExternalName {
			errs = append(errs, field.Forbidden(internal, "may only be set when `type` is ClusterIP, NodePort, or LoadBalancer"))
		} else {
			errs = append(errs, validate.Enum(*p, internal, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
		}
	} else if s.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(internal, ""))
	}
	if d := s.Spec.TrafficDistribution; d != nil {
		errs = append(errs, validate.Enum(*d, spec.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}
