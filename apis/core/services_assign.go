package core

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// allocate fills svc with what it needs and hasn't, books it in c, and takes
// what svc asks for by name and doesn't hold yet.
func (a *allocator) allocate(svc *corev1.Service, had, c *claim) (errs field.ErrorList) {
	if needsClusterIP(svc) {
		errs = append(errs, a.allocateIP(svc, had, c)...)
	}
	if len(errs) > 0 {
		return errs
	}
	if needsNodePort(svc) || askedPorts(svc) {
		errs = append(errs, a.allocatePorts(svc, had, c)...)
	}
	if needsHealthPort(svc) {
		errs = append(errs, a.allocateHealthPort(svc, had, c)...)
	}
	return errs
}

// askedPorts reports whether a load balancer without automatic node ports
// names some.
func askedPorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort != 0 })
}

func (a *allocator) allocateIP(svc *corev1.Service, had, c *claim) field.ErrorList {
	path := field.NewPath("spec", "clusterIPs")
	if len(svc.Spec.ClusterIPs) == 0 && c.dry {
		// the network's own address, which no service can have
		ip := a.ips.prefix.Addr().String()
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = ip, []string{ip}
		return nil
	}
	if len(svc.Spec.ClusterIPs) == 0 {
		n, err := a.ips.next(nil)
		if err != nil {
			return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a serviceIP: %w", err))}
		}
		ip := a.ips.address(n).String()
		c.ips = append(c.ips, ip)
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = ip, []string{ip}
		return nil
	}
	for _, ip := range svc.Spec.ClusterIPs {
		if _, err := netip.ParseAddr(ip); err != nil || c.dry || slices.Contains(had.ips, ip) {
			continue // validation speaks about what is no address
		}
		if err := a.ips.takeAddress(ip); err != nil {
			return field.ErrorList{field.Invalid(path, svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err))}
		}
		c.ips = append(c.ips, ip)
	}
	return nil
}

func (a *allocator) allocatePorts(svc *corev1.Service, had, c *claim) (errs field.ErrorList) {
	path := field.NewPath("spec", "ports")
	// one port number for several protocols shares its node port
	shared := map[int32]int32{}
	held := func(n int32) bool { return slices.Contains(had.ports, n) || slices.Contains(c.ports, n) }
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort == 0 {
			continue
		}
		shared[p.Port] = p.NodePort
		if c.dry || held(p.NodePort) {
			continue
		}
		if err := a.ports.takePort(p.NodePort); err != nil {
			errs = append(errs, field.Invalid(path.Index(i).Child("nodePort"), p.NodePort, err.Error()))
			continue
		}
		c.ports = append(c.ports, p.NodePort)
	}
	if len(errs) > 0 || !needsNodePort(svc) {
		return errs
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		if n, ok := shared[p.Port]; ok && !protocolTaken(svc, n, p.Protocol) {
			p.NodePort = n
			continue
		}
		n, err := a.ports.next(nil)
		if err != nil {
			return append(errs, field.InternalError(path.Index(i).Child("nodePort"), fmt.Errorf("failed to allocate a nodePort: %w", err)))
		}
		p.NodePort = int32(n + a.ports.valid.Base)
		c.ports = append(c.ports, p.NodePort)
		shared[p.Port] = p.NodePort
	}
	return nil
}

func protocolTaken(svc *corev1.Service, nodePort int32, protocol corev1.Protocol) bool {
	return slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort == nodePort && p.Protocol == protocol })
}

func (a *allocator) allocateHealthPort(svc *corev1.Service, had, c *claim) field.ErrorList {
	path := field.NewPath("spec", "healthCheckNodePort")
	n := svc.Spec.HealthCheckNodePort
	switch {
	case n == 0:
		free, err := a.ports.next(nil)
		if err != nil {
			return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a HealthCheck NodePort: %w", err))}
		}
		svc.Spec.HealthCheckNodePort = int32(free + a.ports.valid.Base)
		c.ports = append(c.ports, svc.Spec.HealthCheckNodePort)
	case had.health == 0 && !c.dry && !slices.Contains(had.ports, n) && n > 0 && n < 65536:
		if err := a.ports.takePort(n); err != nil {
			return field.ErrorList{field.Invalid(path, n, fmt.Sprintf("failed to allocate requested HealthCheck NodePort %d: %v", n, err))}
		}
		c.ports = append(c.ports, n)
	}
	return nil
}
