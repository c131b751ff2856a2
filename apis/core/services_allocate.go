package core

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// allocator gives services their cluster IPs and node ports.
//
// What is allocated is what stored services say: the pools are an index of the
// store, built by listing it before the first allocation, and built again when
// an allocation finds a number taken or a pool empty, so nothing leaks and
// nothing needs repair after a crash. A number is reserved in memory from
// before its service is written until the write has succeeded or failed.
//
// The reservation holds within one server. Servers that share an etcd must
// agree before the write: give each its own third of the dynamic bands, and
// put numbers asked for by name under a key of their own, created in etcd with
// the service.
type allocator struct {
	mu      sync.Mutex
	store   *registry.Store
	cidr    netip.Prefix
	ips     *addresses
	ports   *ports
	loaded  bool
	pending map[*claim]bool
}

// claim is what one write takes.
type claim struct {
	ips    []string
	ports  []int32
	health int32 // the health check port among ports
	// a dry run takes nothing that the service names itself, as nothing is kept
	dry bool
}

func newAllocator(cidr netip.Prefix, valid utilnet.PortRange) *allocator {
	return &allocator{cidr: cidr, ips: newAddresses(cidr), ports: newPorts(valid), pending: map[*claim]bool{}}
}

// attach hooks the allocator into the store of services.
func (a *allocator) attach(s *registry.Store) error {
	a.store = s
	s.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (registry.FinishFunc, error) {
		return a.begin(ctx, obj.(*corev1.Service), nil, dryrun.IsDryRun(o.DryRun))
	}
	s.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (registry.FinishFunc, error) {
		svc, before := obj.(*corev1.Service), old.(*corev1.Service)
		prepareService(ctx, svc, before)
		return a.begin(ctx, svc, before, dryrun.IsDryRun(o.DryRun))
	}
	s.AfterDelete = func(obj runtime.Object, o *metav1.DeleteOptions) {
		if svc, ok := obj.(*corev1.Service); ok && !dryrun.IsDryRun(o.DryRun) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.release(claimOf(svc))
		}
	}
	return nil
}

// claimOf is what a stored service holds.
func claimOf(s *corev1.Service) *claim {
	c := &claim{}
	if needsClusterIP(s) {
		ips := s.Spec.ClusterIPs
		if len(ips) == 0 && s.Spec.ClusterIP != "" {
			ips = []string{s.Spec.ClusterIP}
		}
		for _, ip := range ips {
			if ip != corev1.ClusterIPNone && ip != "" {
				c.ips = append(c.ips, ip)
			}
		}
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 && !slices.Contains(c.ports, p.NodePort) {
			c.ports = append(c.ports, p.NodePort)
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		c.ports, c.health = append(c.ports, s.Spec.HealthCheckNodePort), s.Spec.HealthCheckNodePort
	}
	return c
}

// begin reserves what svc needs beyond what old holds, and writes it into svc.
// The answered function ends the reservation.
func (a *allocator) begin(ctx context.Context, svc, old *corev1.Service, dry bool) (registry.FinishFunc, error) {
	if errs := a.families(svc, old); len(errs) > 0 {
		return nil, invalidService(svc, errs)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.load(ctx, false); err != nil {
		return nil, err
	}
	had := &claim{}
	if old != nil {
		had = claimOf(old)
	}
	c := &claim{dry: dry}
	before := svc.DeepCopy()
	if errs := a.allocate(svc, had, c); len(errs) > 0 {
		// the index may be behind the store: build it again and try once more
		a.release(c)
		*svc, c = *before, &claim{dry: dry}
		if err := a.load(ctx, true); err != nil {
			return nil, err
		}
		if errs := a.allocate(svc, had, c); len(errs) > 0 {
			a.release(c)
			return nil, invalidService(svc, errs)
		}
	}
	if dry {
		a.release(c)
		return func(context.Context, bool) {}, nil
	}
	a.pending[c] = true
	return func(_ context.Context, ok bool) { a.finish(c, had, svc, ok) }, nil
}

// finish ends a reservation. What a successful update no longer says is freed.
func (a *allocator) finish(c, had *claim, svc *corev1.Service, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, c)
	if !ok {
		a.release(c)
		return
	}
	now, gone := claimOf(svc), &claim{}
	for _, ip := range had.ips {
		if !slices.Contains(now.ips, ip) {
			gone.ips = append(gone.ips, ip)
		}
	}
	for _, p := range had.ports {
		if !slices.Contains(now.ports, p) {
			gone.ports = append(gone.ports, p)
		}
	}
	a.release(gone)
}

func (a *allocator) release(c *claim) {
	for _, ip := range c.ips {
		a.ips.freeAddress(ip)
	}
	for _, p := range c.ports {
		a.ports.freePort(p)
	}
}

// load builds the pools from the store, unless they are built.
func (a *allocator) load(ctx context.Context, again bool) error {
	if a.loaded && !again {
		return nil
	}
	all := genericrequest.WithNamespace(context.WithoutCancel(ctx), metav1.NamespaceAll)
	obj, err := a.store.List(all, &metainternalversion.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing services for their addresses: %w", err)
	}
	a.ips.used, a.ports.used = map[int]bool{}, map[int]bool{}
	take := func(c *claim) {
		for _, ip := range c.ips {
			_ = a.ips.takeAddress(ip) // an address outside the range needs no index
		}
		for _, p := range c.ports {
			_ = a.ports.takePort(p)
		}
	}
	list := obj.(*corev1.ServiceList)
	for i := range list.Items {
		take(claimOf(&list.Items[i]))
	}
	for c := range a.pending {
		take(c)
	}
	a.loaded = true
	return nil
}

func invalidService(s *corev1.Service, errs field.ErrorList) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, errs)
}
