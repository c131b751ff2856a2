package core

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// firstDryPort is the node port that a dry run shows where any would do.
const firstDryPort = 32769

// claim is what one write of a Service takes. A dry run takes nothing, and says
// only what can be said without.
type claim struct {
	*allocator
	svc, old *corev1.Service // old is nil on create
	dry      bool
	taken    holding
}

// allocate fills svc with what it needs and hasn't.
func (c *claim) allocate(ctx context.Context) error {
	if err := c.allocateIPs(ctx); err != nil {
		return err
	}
	if hasNodePorts(c.svc) {
		allocate := c.initNodePorts
		if c.old != nil {
			allocate = c.updateNodePorts
		}
		if err := allocate(ctx); err != nil {
			return err
		}
	}
	if needsHealthPort(c.svc) && (c.old == nil || !needsHealthPort(c.old)) {
		return c.allocateHealthPort(ctx)
	}
	return nil
}

// allocateIPs takes addresses for a Service that is new, was an ExternalName, or
// gains a second family; no other write can change them.
func (c *claim) allocateIPs(ctx context.Context) error {
	spec := &c.svc.Spec
	if !needsClusterIP(c.svc) || slices.Contains(spec.ClusterIPs, corev1.ClusterIPNone) {
		return nil
	}
	first := 0
	if c.old != nil && needsClusterIP(c.old) {
		if slices.Contains(c.old.Spec.ClusterIPs, corev1.ClusterIPNone) || len(c.old.Spec.IPFamilies) != 1 || len(spec.IPFamilies) != 2 {
			return nil
		}
		first = 1
	}
	for i := first; i < len(spec.IPFamilies); i++ {
		if i >= len(spec.ClusterIPs) {
			spec.ClusterIPs = append(slices.Clone(spec.ClusterIPs), "")
		}
		if err := c.allocateIP(ctx, i); err != nil {
			return err
		}
	}
	if first == 0 && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	return nil
}

func (c *claim) allocateIP(ctx context.Context, i int) (err error) {
	ips, family := c.svc.Spec.ClusterIPs, c.svc.Spec.IPFamilies[i]
	invalid := func(format string, args ...any) error {
		return invalidService(c.svc, field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs"), ips, fmt.Sprintf(format, args...))})
	}
	if ips[i] != "" {
		take := c.addresses.take
		if c.dry {
			take = func(ctx context.Context, _ *corev1.Service, ip string) error { return c.addresses.dryTake(ctx, ip) }
		}
		if err := take(ctx, c.svc, ips[i]); err != nil {
			return invalid("failed to allocate IP %v: %v", ips[i], err)
		}
	} else {
		var ip string
		if c.dry {
			ip, err = c.addresses.dryNext(ctx, family)
		} else {
			ip, err = c.addresses.next(ctx, c.svc, family)
		}
		switch {
		case errors.Is(err, errFull):
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", c.svc.Name, err))
		case err != nil:
			return invalid("failed to allocate IP: %v", err)
		}
		ips[i] = ip
	}
	if !c.dry {
		c.taken.ips = append(c.taken.ips, ips[i])
	}
	return nil
}

// initNodePorts takes the node ports of a new Service. Ports of one number, for
// several protocols, share the first node port that is named for any of them.
func (c *claim) initNodePorts(ctx context.Context) error {
	shared := map[int32]int32{}
	ports := c.svc.Spec.Ports
	for i := range ports {
		p := &ports[i]
		if p.NodePort == 0 && !needsNodePort(c.svc) {
			continue
		}
		switch held := shared[p.Port]; {
		case held == 0:
			p.NodePort = requestedPort(p.Port, ports)
			if err := c.takePort(ctx, i); err != nil {
				return err
			}
			shared[p.Port] = p.NodePort
		case p.NodePort == 0:
			p.NodePort = held
		case p.NodePort != held:
			if err := c.takePort(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// requestedPort is the first node port that is named for the port number.
func requestedPort(port int32, ports []corev1.ServicePort) int32 {
	for _, p := range ports {
		if p.Port == port && p.NodePort != 0 {
			return p.NodePort
		}
	}
	return 0
}

// updateNodePorts takes the node ports that old hasn't.
func (c *claim) updateNodePorts(ctx context.Context) error {
	type nodePort struct {
		protocol corev1.Protocol
		port     int32
	}
	had, named, seen := nodePortsOf(c.old), map[int32]bool{}, map[nodePort]bool{}
	for i := range c.svc.Spec.Ports {
		p := &c.svc.Spec.Ports[i]
		if p.NodePort == 0 && !needsNodePort(c.svc) {
			continue
		}
		if p.NodePort == 0 || (!slices.Contains(had, p.NodePort) && !named[p.NodePort]) {
			asked := p.NodePort != 0
			if err := c.takePort(ctx, i); err != nil {
				return err
			}
			named[p.NodePort] = asked
		}
		id := nodePort{p.Protocol, p.NodePort}
		if seen[id] {
			return fmt.Errorf("duplicate nodePort: %v", id)
		}
		seen[id] = true
	}
	return nil
}

func nodePortsOf(s *corev1.Service) (out []int32) {
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, p.NodePort)
		}
	}
	return out
}

// takePort takes the node port of port i, any if it names none.
func (c *claim) takePort(ctx context.Context, i int) error {
	p := &c.svc.Spec.Ports[i]
	if p.NodePort != 0 {
		if err := c.reservePort(ctx, p.NodePort); err != nil {
			return invalidService(c.svc, field.ErrorList{field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error())})
		}
		return nil
	}
	n, err := c.anyPort(ctx)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
	}
	p.NodePort = n
	return nil
}

func (c *claim) reservePort(ctx context.Context, n int32) error {
	if c.dry {
		held, err := c.ports.has(ctx, n)
		if held || slices.Contains(c.taken.ports, n) {
			err = errTakenPort
		}
		if err == nil {
			c.taken.ports = append(c.taken.ports, n)
		}
		return err
	}
	if err := c.ports.take(ctx, c.svc, n); err != nil {
		return err
	}
	c.taken.ports = append(c.taken.ports, n)
	return nil
}

func (c *claim) anyPort(ctx context.Context) (n int32, err error) {
	if c.dry {
		if n = firstDryPort; len(c.taken.ports) > 0 {
			n = slices.Max(c.taken.ports) + 1
		}
	} else if n, err = c.ports.next(ctx, c.svc); err != nil {
		return 0, err
	}
	c.taken.ports = append(c.taken.ports, n)
	return n, nil
}

func (c *claim) allocateHealthPort(ctx context.Context) error {
	if n := c.svc.Spec.HealthCheckNodePort; n != 0 {
		if err := c.reservePort(ctx, n); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", n, err))
		}
		return nil
	}
	n, err := c.anyPort(ctx)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", 0, err))
	}
	c.svc.Spec.HealthCheckNodePort = n
	return nil
}

// policyOf is the IP family policy, or empty.
func policyOf(s *corev1.Service) corev1.IPFamilyPolicy { return ptr.Deref(s.Spec.IPFamilyPolicy, "") }
