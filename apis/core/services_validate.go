package core

import (
	"context"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// kubeletPort must not be reached through a load balancer.
const kubeletPort = 10250

// maxAffinitySeconds is a day.
const maxAffinitySeconds = 86400

func validateService(_ context.Context, s, old *corev1.Service) (errs field.ErrorList) {
	if old != nil {
		errs = append(errs, validateServiceChange(s, old)...)
	}
	spec := field.NewPath("spec")
	headless := isHeadless(s)
	if len(s.Spec.Ports) == 0 && !headless && s.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	errs = append(errs, validateServiceType(s, headless, spec)...)
	names := map[string]bool{}
	for i := range s.Spec.Ports {
		errs = append(errs, validateServicePort(&s.Spec.Ports[i], servicePortRules{len(s.Spec.Ports) > 1, headless, names}, spec.Child("ports").Index(i))...)
	}
	if s.Spec.Selector != nil {
		errs = append(errs, metav1validation.ValidateLabels(s.Spec.Selector, spec.Child("selector"))...)
	}
	errs = append(errs, validateAffinity(&s.Spec, spec)...)
	errs = append(errs, validateClusterIPs(s, old, spec)...)
	errs = append(errs, validateExternalIPs(s, old, spec.Child("externalIPs"))...)
	errs = append(errs, validate.RequiredEnum(s.Spec.Type, spec.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)...)
	errs = append(errs, validateNodePorts(s, spec.Child("ports"))...)
	errs = append(errs, validateLoadBalancer(s, old, spec)...)
	return append(errs, validateTraffic(s, spec)...)
}

func isHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func validateServiceChange(s, old *corev1.Service) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if s.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, validateAddressChange(s, old, spec)...)
	}
	if needsHealthPort(old) && needsHealthPort(s) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(spec.Child("healthCheckNodePort"), "field is immutable"))
	}
	if old.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.Type == corev1.ServiceTypeLoadBalancer && !equalPointers(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(spec.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set"))
	}
	return errs
}

func validateServiceType(s *corev1.Service, headless bool, spec *field.Path) (errs field.ErrorList) {
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		for i, p := range s.Spec.Ports {
			if p.Port == kubeletPort {
				errs = append(errs, field.Invalid(spec.Child("ports").Index(i), p.Port, "may not expose port 10250 externally since it is used by kubelet"))
			}
		}
		if headless {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.Spec.ClusterIPs[0], "may not be set to 'None' for LoadBalancer services"))
		}
	case corev1.ServiceTypeNodePort:
		if headless {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.Spec.ClusterIPs[0], "may not be set to 'None' for NodePort services"))
		}
	case corev1.ServiceTypeExternalName:
		const text = "may not be set for ExternalName services"
		if s.Spec.ClusterIP != "" || len(s.Spec.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(spec.Child("clusterIPs"), text))
		}
		if len(s.Spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(spec.Child("ipFamilies"), text))
		}
		if s.Spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(spec.Child("ipFamilyPolicy"), text))
		}
		name := strings.TrimSuffix(s.Spec.ExternalName, ".")
		if name == "" {
			errs = append(errs, field.Required(spec.Child("externalName"), ""))
		} else {
			errs = append(errs, validate.DNSSubdomain(name, spec.Child("externalName"))...)
		}
	}
	return errs
}

type servicePortRules struct {
	named, headless bool
	names           map[string]bool
}

func validateServicePort(p *corev1.ServicePort, r servicePortRules, path *field.Path) (errs field.ErrorList) {
	switch {
	case p.Name == "" && r.named:
		errs = append(errs, field.Required(path.Child("name"), ""))
	case p.Name != "":
		errs = append(errs, validate.DNSLabel(p.Name, path.Child("name"))...)
		if r.names[p.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), p.Name))
		}
		r.names[p.Name] = true
	}
	errs = append(errs, validate.Port(p.Port, path.Child("port"))...)
	errs = append(errs, validate.RequiredEnum(p.Protocol, path.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
	errs = append(errs, validatePortNumOrName(p.TargetPort, path.Child("targetPort"))...)
	if p.AppProtocol != nil {
		errs = append(errs, validate.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

func validatePortNumOrName(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return validate.All(path, p.IntVal, validation.IsValidPortNum(int(p.IntVal)))
	}
	return validate.All(path, p.StrVal, validation.IsValidPortName(p.StrVal))
}

func validateAffinity(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.RequiredEnum(s.SessionAffinity, spec.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)...)
	path := spec.Child("sessionAffinityConfig")
	switch s.SessionAffinity {
	case corev1.ServiceAffinityClientIP:
		c := s.SessionAffinityConfig
		switch {
		case c == nil:
			errs = append(errs, field.Required(path, "when session affinity type is ClientIP"))
		case c.ClientIP == nil:
			errs = append(errs, field.Required(path.Child("clientIP"), "when session affinity type is ClientIP"))
		case c.ClientIP.TimeoutSeconds == nil:
			errs = append(errs, field.Required(path.Child("clientIP", "timeoutSeconds"), "when session affinity type is ClientIP"))
		case *c.ClientIP.TimeoutSeconds <= 0 || *c.ClientIP.TimeoutSeconds > maxAffinitySeconds:
			errs = append(errs, field.Invalid(path.Child("clientIP", "timeoutSeconds"), *c.ClientIP.TimeoutSeconds, "must be greater than 0 and less than 86400"))
		}
	case corev1.ServiceAffinityNone:
		if s.SessionAffinityConfig != nil {
			errs = append(errs, field.Forbidden(path, "must not be set when session affinity is None"))
		}
	}
	return errs
}

func validateExternalIPs(s, old *corev1.Service, path *field.Path) (errs field.ErrorList) {
	var known []string
	if old != nil {
		known = old.Spec.ExternalIPs
	}
	for i, ip := range s.Spec.ExternalIPs {
		bad := validation.IsValidIPForLegacyField(path.Index(i), ip, true, known)
		if len(bad) == 0 && net.ParseIP(ip) != nil {
			bad = validateEndpointIP(ip, path.Index(i))
		}
		errs = append(errs, bad...)
	}
	return errs
}

// validateNodePorts looks at the ports together: each protocol and (node) port once.
func validateNodePorts(s *corev1.Service, path *field.Path) (errs field.ErrorList) {
	if s.Spec.Type == corev1.ServiceTypeClusterIP {
		for i, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				errs = append(errs, field.Forbidden(path.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
		}
	}
	var nodePorts, seen []corev1.ServicePort
	for i, p := range s.Spec.Ports {
		if k := (corev1.ServicePort{Protocol: p.Protocol, NodePort: p.NodePort}); p.NodePort != 0 {
			if slices.Contains(nodePorts, k) {
				errs = append(errs, field.Duplicate(path.Index(i).Child("nodePort"), p.NodePort))
			}
			nodePorts = append(nodePorts, k)
		}
		k := corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}
		if slices.Contains(seen, k) {
			errs = append(errs, field.Duplicate(path.Index(i), servicePortValue{Protocol: p.Protocol, Port: p.Port}))
		}
		seen = append(seen, k)
	}
	return errs
}

// servicePortValue prints a port the way the API does in errors.
type servicePortValue struct {
	Name        string
	Protocol    corev1.Protocol
	AppProtocol *string
	Port        int32
	TargetPort  intstr.IntOrString
	NodePort    int32
}

func validateServiceStatus(_ context.Context, s, old *corev1.Service) (errs field.ErrorList) {
	path := field.NewPath("status", "loadBalancer", "ingress")
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) > 0 {
		return field.ErrorList{field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var known []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		known = append(known, in.IP)
	}
	for i, in := range s.Status.LoadBalancer.Ingress {
		at := path.Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, known)...)
		}
		if in.IP == "" && in.IPMode != nil {
			errs = append(errs, field.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set"))
		}
		if in.IPMode != nil {
			errs = append(errs, validate.Enum(*in.IPMode, at.Child("ipMode"), corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
		}
		if in.Hostname != "" {
			errs = append(errs, validate.DNSSubdomain(in.Hostname, at.Child("hostname"))...)
			if net.ParseIP(in.Hostname) != nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}
