package core

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/klog/v2"

	"skiff/apis/resource"
)

// allocator gives Services their cluster IPs and node ports: before a Service
// is written it takes what the Service needs, afterwards it gives back what the
// Service has no more or, if the write failed, what it took. What a crash
// leaves behind is repaired; see Keep.
type allocator struct {
	resource.Definition[*corev1.Service]
	families  []corev1.IPFamily // of the cluster, the default one first
	addresses *addresses
	ports     *nodePorts
	deps      Deps
}

func newAllocator(deps Deps) *allocator {
	registerMetrics()
	a := &allocator{
		addresses: newAddresses(deps.Client.NetworkingV1(), deps.ServiceCIDRs, deps.Informers),
		ports:     &nodePorts{valid: deps.NodePorts},
		deps:      deps,
	}
	for _, p := range deps.ServiceCIDRs {
		a.families = append(a.families, familyOf(p.Addr()))
	}
	addressUse.current.Store(a.addresses)
	return a
}

// Storage implements resource.Resource.
func (a *allocator) Storage(s *runtime.Scheme, opts generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	if err := checkServiceRanges(a.deps.ServiceCIDRs, a.deps.NodePorts); err != nil {
		return nil, err
	}
	if err := a.ports.open(opts); err != nil {
		return nil, err
	}
	return a.Definition.Storage(s, opts)
}

// allocatingEndpoint is the main endpoint of Services.
type allocatingEndpoint struct {
	*resource.Endpoint
	ports *nodePorts
}

// Destroy implements rest.Storage.
func (e allocatingEndpoint) Destroy() {
	e.Endpoint.Destroy()
	e.ports.close()
}

// attach hooks the allocator into the store of Services.
func (a *allocator) attach(s *registry.Store) error {
	s.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (registry.FinishFunc, error) {
		return a.begin(ctx, obj.(*corev1.Service), nil, dryrun.IsDryRun(o.DryRun))
	}
	s.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (registry.FinishFunc, error) {
		svc, before := obj.(*corev1.Service), old.(*corev1.Service)
		keepAllocated(svc, before)
		return a.begin(ctx, svc, before, dryrun.IsDryRun(o.DryRun))
	}
	s.AfterDelete = func(obj runtime.Object, o *metav1.DeleteOptions) {
		if svc, ok := obj.(*corev1.Service); ok && !dryrun.IsDryRun(o.DryRun) {
			a.giveBack(context.Background(), holdingOf(svc)) //nolint:forbidigo // the hook has no context
		}
	}
	return nil
}

// holding is what a Service has of the pools.
type holding struct {
	ips   []string
	ports []int32
}

// holdingOf is what a stored Service holds.
func holdingOf(s *corev1.Service) (h holding) {
	if needsClusterIP(s) {
		h.ips = slices.DeleteFunc(slices.Clone(s.Spec.ClusterIPs), func(ip string) bool { return ip == corev1.ClusterIPNone || ip == "" })
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 && !slices.Contains(h.ports, p.NodePort) {
			h.ports = append(h.ports, p.NodePort)
		}
	}
	if n := s.Spec.HealthCheckNodePort; n != 0 && !slices.Contains(h.ports, n) {
		h.ports = append(h.ports, n)
	}
	return h
}

// without is what h has and other hasn't.
func (h holding) without(other holding) holding {
	return holding{
		slices.DeleteFunc(slices.Clone(h.ips), func(ip string) bool { return slices.Contains(other.ips, ip) }),
		slices.DeleteFunc(slices.Clone(h.ports), func(n int32) bool { return slices.Contains(other.ports, n) }),
	}
}

// giveBack frees what was held. What can't be freed now, the repair loop frees.
func (a *allocator) giveBack(ctx context.Context, h holding) {
	ctx = context.WithoutCancel(ctx)
	for _, ip := range h.ips {
		if err := a.addresses.release(ctx, ip); err != nil {
			klog.FromContext(ctx).V(2).Info("Releasing a cluster IP", "err", err)
		}
	}
	for _, n := range h.ports {
		a.ports.free(ctx, n)
	}
}

// begin takes what svc needs beyond what old holds, and writes it into svc. The
// answered function keeps it or gives it back.
func (a *allocator) begin(ctx context.Context, svc, old *corev1.Service, dry bool) (registry.FinishFunc, error) {
	normalizeClusterIPs(svc, old)
	if errs := a.settleFamilies(svc, old); len(errs) > 0 {
		return nil, invalidService(svc, errs)
	}
	c := &claim{allocator: a, svc: svc, old: old, dry: dry}
	if err := c.allocate(ctx); err != nil {
		a.giveBack(ctx, c.taken)
		return nil, err
	}
	if dry {
		return func(context.Context, bool) {}, nil
	}
	return func(ctx context.Context, ok bool) {
		switch {
		case !ok:
			a.giveBack(ctx, c.taken)
		case old != nil:
			a.giveBack(ctx, holdingOf(old).without(holdingOf(svc)))
		}
	}, nil
}

func invalidService(s *corev1.Service, errs field.ErrorList) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, errs)
}

// checkServiceRanges refuses ranges that allocation can't work with.
func checkServiceRanges(cidrs []netip.Prefix, ports utilnet.PortRange) error {
	switch {
	case len(cidrs) == 0 || len(cidrs) > 2:
		return errors.New("a cluster has one range of Service addresses, or one for each family")
	case len(cidrs) == 2 && cidrs[0].Addr().Is4() == cidrs[1].Addr().Is4():
		return errors.New("two ranges of Service addresses must be of different families")
	case ports.Size <= 0:
		return errors.New("the range of node ports is empty")
	}
	return nil
}
