package core

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

func services(deps Deps) resource.Resource {
	alloc := newAllocator(deps)
	alloc.Definition = resource.Definition[*corev1.Service]{
		Resource:       corev1.SchemeGroupVersion.WithResource("services"),
		Kind:           "Service",
		ReturnDeleted:  true,
		Singular:       "service",
		ShortNames:     []string{"svc"},
		Categories:     []string{"all"},
		Object:         &corev1.Service{},
		List:           &corev1.ServiceList{},
		Types:          map[schema.GroupVersion][]runtime.Object{corev1.SchemeGroupVersion: {&corev1.ServiceProxyOptions{}, &corev1.RangeAllocation{}}},
		Name:           apivalidation.NameIsDNSLabel,
		NameOnce:       true,
		Default:        defaultService,
		Prepare:        prepareService,
		Validate:       validateService,
		Warn:           warnService,
		NoGeneration:   true,
		Spec:           func(s *corev1.Service) any { return &s.Spec },
		Status:         func(s *corev1.Service) any { return &s.Status },
		PrepareStatus:  prepareServiceStatus,
		ValidateStatus: validateServiceStatus,
		WarnStatus: func(_ context.Context, s, _ *corev1.Service) (out []string) {
			for i, in := range s.Status.LoadBalancer.Ingress {
				if in.IP != "" {
					out = append(out, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), in.IP)...)
				}
			}
			return out
		},
		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Columns: serviceColumns(),
		Store:   alloc.attach,
		Main:    func(e *resource.Endpoint) rest.Storage { return allocatingEndpoint{e, alloc.ports} },
		Subresources: map[string]func(*registry.Store) rest.Storage{
			"proxy": func(s *registry.Store) rest.Storage { return serviceProxy(s, deps.Client) },
		},
	}
	return alloc
}

// defaultService also keeps clusterIP and the first of clusterIPs equal where
// only the older field is there, as objects of old clients have it.
func defaultService(s *corev1.Service) {
	spec := &s.Spec
	setIfEmpty(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.SessionAffinity == corev1.ServiceAffinityNone {
		spec.SessionAffinityConfig = nil
	}
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			timeout := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
		}
	}
	setIfEmpty(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		setIfEmpty(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort.IntVal == 0 && p.TargetPort.StrVal == "" {
			p.TargetPort.Type, p.TargetPort.IntVal = 0, p.Port
		}
	}
	if reachedFromOutside(s) {
		setIfEmpty(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.InternalTrafficPolicy == nil && spec.Type != corev1.ServiceTypeExternalName {
		cluster := corev1.ServiceInternalTrafficPolicyCluster
		spec.InternalTrafficPolicy = &cluster
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer && spec.AllocateLoadBalancerNodePorts == nil {
		yes := true
		spec.AllocateLoadBalancerNodePorts = &yes
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" && in.IPMode == nil && spec.Type == corev1.ServiceTypeLoadBalancer {
			vip := corev1.LoadBalancerIPModeVIP
			in.IPMode = &vip
		}
	}
}

func setIfEmpty[T ~string](p *T, value T) {
	if *p == "" {
		*p = value
	}
}

// reachedFromOutside reports whether a service has addresses beyond cluster IPs.
func reachedFromOutside(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort ||
		(s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0)
}

func prepareServiceStatus(_ context.Context, s, _ *corev1.Service) {
	defaultService(s)
}

// warnService names fields that do nothing or won't for long, and addresses that
// are written in a way that misleads.
func warnService(_ context.Context, s, _ *corev1.Service) (out []string) {
	spec := field.NewPath("spec")
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	named := s.Spec.Type == corev1.ServiceTypeExternalName
	headless := s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		say("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode)
	}
	if !headless && !named {
		for i, ip := range s.Spec.ClusterIPs {
			out = append(out, validation.GetWarningsForIP(spec.Child("clusterIPs").Index(i), ip)...)
		}
	}
	if headless {
		out = append(out, warnHeadless(s)...)
	}
	for i, ip := range s.Spec.ExternalIPs {
		out = append(out, validation.GetWarningsForIP(spec.Child("externalIPs").Index(i), ip)...)
	}
	if len(s.Spec.ExternalIPs) > 0 && !headless && !named {
		say("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if s.Spec.LoadBalancerIP != "" {
		out = append(out, validation.GetWarningsForIP(spec.Child("loadBalancerIP"), s.Spec.LoadBalancerIP)...)
	}
	for i, cidr := range s.Spec.LoadBalancerSourceRanges {
		out = append(out, validation.GetWarningsForCIDR(spec.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	if named && len(s.Spec.ExternalIPs) > 0 {
		say("spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName)
	}
	if !named && s.Spec.ExternalName != "" {
		say("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName)
	}
	if d := s.Spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		say("spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone)
	}
	return out
}

func warnHeadless(s *corev1.Service) (out []string) {
	if s.Spec.LoadBalancerIP != "" {
		out = append(out, "spec.loadBalancerIP is ignored for headless services")
	}
	if len(s.Spec.ExternalIPs) > 0 {
		out = append(out, "spec.externalIPs is ignored for headless services")
	}
	if s.Spec.SessionAffinity != corev1.ServiceAffinityNone {
		out = append(out, "spec.SessionAffinity is ignored for headless services")
	}
	return out
}

func serviceColumns() []resource.Column[*corev1.Service] {
	type service = *corev1.Service
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return []resource.Column[service]{
		{Name: "Type", Type: "string", Help: doc["type"], Value: func(s service) any { return string(s.Spec.Type) }},
		{Name: "Cluster-IP", Type: "string", Help: doc["clusterIP"], Value: func(s service) any { return orNone(firstClusterIP(s)) }},
		{Name: "External-IP", Type: "string", Help: doc["externalIPs"], Value: externalIPs},
		{Name: "Port(s)", Type: "string", Help: doc["ports"], Value: servicePorts},
		resource.AgeColumn[service](),
		{Name: "Selector", Type: "string", Priority: 1, Help: doc["selector"], Value: func(s service) any { return labelsText(s.Spec.Selector) }},
	}
}

func firstClusterIP(s *corev1.Service) string {
	if len(s.Spec.ClusterIPs) > 0 {
		return s.Spec.ClusterIPs[0]
	}
	return s.Spec.ClusterIP
}

// externalIPs prints where a service is reached from outside.
func externalIPs(s *corev1.Service) any {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var ips []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				ips = append(ips, in.IP)
			} else if in.Hostname != "" {
				ips = append(ips, in.Hostname)
			}
		}
		ips = append(ips, s.Spec.ExternalIPs...)
		if len(ips) == 0 {
			return "<pending>"
		}
		return strings.Join(ips, ",")
	}
	return orNone(strings.Join(s.Spec.ExternalIPs, ","))
}

func servicePorts(s *corev1.Service) any {
	var out []string
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			out = append(out, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			out = append(out, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return orNone(strings.Join(out, ","))
}
