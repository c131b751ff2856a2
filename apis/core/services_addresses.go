package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	networking "k8s.io/client-go/kubernetes/typed/networking/v1"
	listers "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// addressManager is who made an IPAddress, by its label managed-by.
	addressManager = "ipallocator.k8s.io"
	// allocatorName is the field manager of what the allocators write.
	allocatorName = "kube-apiserver"
	// defaultServiceCIDR names the ServiceCIDR of the configured ranges.
	defaultServiceCIDR = "kubernetes"
)

var (
	errFull        = errors.New("range is full")
	errTakenIP     = errors.New("provided IP is already allocated")
	errOtherRange  = errors.New("the provided network does not match the current range")
	errNotAnIPAddr = errors.New("not an IP address")
)

// addresses gives Services their cluster IPs, out of the ranges of ready
// ServiceCIDRs. Whoever creates the IPAddress of an address's name has it, so
// servers that share an etcd agree, and nothing is kept in memory. What the
// caches show only saves attempts.
type addresses struct {
	client     networking.NetworkingV1Interface
	configured []netip.Prefix
	cidrs      cached[listers.ServiceCIDRLister]
	taken      cached[listers.IPAddressLister]
}

// cached is a lister of a cache that may not be filled yet.
type cached[L any] struct {
	lister L
	synced cache.InformerSynced
}

func newAddresses(c networking.NetworkingV1Interface, configured []netip.Prefix, i informers.SharedInformerFactory) *addresses {
	cidrs, taken := i.Networking().V1().ServiceCIDRs(), i.Networking().V1().IPAddresses()
	return &addresses{
		client: c, configured: configured,
		cidrs: cached[listers.ServiceCIDRLister]{cidrs.Lister(), cidrs.Informer().HasSynced},
		taken: cached[listers.IPAddressLister]{taken.Lister(), taken.Informer().HasSynced},
	}
}

// take reserves the address for the Service, or says why that can't be.
func (a *addresses) take(ctx context.Context, svc *corev1.Service, text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return errNotAnIPAddr
	}
	ranges, err := a.ranges(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(ranges, func(r addressRange) bool { return r.contains(ip) })
	if i < 0 {
		return errOtherRange
	}
	return a.create(ctx, svc, ip, ranges[i].prefix, "static")
}

// next reserves any free address of the family.
func (a *addresses) next(ctx context.Context, svc *corev1.Service, family corev1.IPFamily) (string, error) {
	ranges, err := a.ranges(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range ranges {
		if familyOf(r.prefix.Addr()) != family {
			continue
		}
		ip, err := a.nextOf(ctx, svc, r)
		if err == nil {
			return ip, nil
		}
		addressErrors.WithLabelValues(r.prefix.String(), "dynamic").Inc()
		if !errors.Is(err, errFull) {
			return "", err
		}
	}
	return "", errFull
}

func (a *addresses) nextOf(ctx context.Context, svc *corev1.Service, r addressRange) (string, error) {
	for ip := range r.candidates() {
		if a.known(ip.String()) {
			continue
		}
		err := a.create(ctx, svc, ip, r.prefix, "dynamic")
		if err == nil {
			return ip.String(), nil
		}
		if !errors.Is(err, errTakenIP) {
			return "", err
		}
	}
	return "", errFull
}

// known reports whether the cache shows the address as taken.
func (a *addresses) known(ip string) bool {
	if !a.taken.synced() {
		return false
	}
	_, err := a.taken.lister.Get(ip)
	return err == nil
}

func (a *addresses) create(ctx context.Context, svc *corev1.Service, ip netip.Addr, r netip.Prefix, scope string) error {
	start := time.Now() //nolint:forbidigo // measured, not decided by
	_, err := a.client.IPAddresses().Create(ctx, addressOf(svc, ip), metav1.CreateOptions{FieldManager: allocatorName})
	switch {
	case apierrors.IsAlreadyExists(err):
		addressErrors.WithLabelValues(r.String(), scope).Inc()
		return errTakenIP
	case err != nil:
		addressErrors.WithLabelValues(r.String(), scope).Inc()
		return err
	}
	addressAllocations.WithLabelValues(r.String(), scope).Inc()
	addressSeconds.WithLabelValues(r.String()).Observe(time.Since(start).Seconds()) //nolint:forbidigo // as above
	return nil
}

// addressOf is the object by which the Service has the address.
func addressOf(svc *corev1.Service, ip netip.Addr) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOf(ip)), networkingv1.LabelManagedBy: addressManager,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}},
	}
}

// release gives the address back. What is not there any more is no error.
func (a *addresses) release(ctx context.Context, text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return errNotAnIPAddr
	}
	err = a.client.IPAddresses().Delete(ctx, ip.String(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("releasing %s: %w", ip, err)
	}
	return nil
}

// dryTake says what can be said about the address without taking it.
func (a *addresses) dryTake(ctx context.Context, text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return errNotAnIPAddr
	}
	ranges, err := a.ranges(ctx)
	if err != nil {
		return err
	}
	valid := "none"
	for _, r := range ranges {
		if r.contains(ip) {
			return nil
		}
		if familyOf(r.prefix.Addr()) == familyOf(ip) && valid == "none" {
			valid = r.prefix.String()
		}
	}
	return fmt.Errorf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, valid)
}

// dryNext answers the network's own address, which no Service can have.
func (a *addresses) dryNext(ctx context.Context, family corev1.IPFamily) (string, error) {
	ranges, err := a.ranges(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range ranges {
		if familyOf(r.prefix.Addr()) == family {
			return r.prefix.Addr().String(), nil
		}
	}
	return "", errFull
}

// ranges are those of ready ServiceCIDRs, the configured ones first.
func (a *addresses) ranges(ctx context.Context) ([]addressRange, error) {
	cidrs, err := a.serviceCIDRs(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the ranges of Services: %w", err)
	}
	return readyRanges(cidrs, a.configured), nil
}

// serviceCIDRs asks the server while the cache is not filled.
func (a *addresses) serviceCIDRs(ctx context.Context) ([]*networkingv1.ServiceCIDR, error) {
	if a.cidrs.synced() {
		return a.cidrs.lister.List(labels.Everything())
	}
	list, err := a.client.ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := make([]*networkingv1.ServiceCIDR, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

// readyRanges are the ranges that addresses are taken from. Until the default
// ServiceCIDR exists, which the server makes when it starts, its ranges count.
func readyRanges(cidrs []*networkingv1.ServiceCIDR, configured []netip.Prefix) []addressRange {
	var prefixes []netip.Prefix
	for _, p := range allPrefixes(cidrs, configured, func(c *networkingv1.ServiceCIDR) bool {
		ready := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		return c.DeletionTimestamp == nil && (ready == nil || ready.Status == metav1.ConditionTrue)
	}) {
		if p.Addr().Is4() || p.Bits() >= shortestIPv6 {
			prefixes = append(prefixes, p)
		}
	}
	slices.SortStableFunc(prefixes, func(x, y netip.Prefix) int {
		rank := func(p netip.Prefix) int {
			if slices.Contains(configured, p) {
				return 0
			}
			return 1
		}
		return cmp.Or(rank(x)-rank(y), x.Addr().Compare(y.Addr()), x.Bits()-y.Bits())
	})
	var out []addressRange
	for _, p := range slices.Compact(prefixes) {
		out = append(out, newAddressRange(p))
	}
	return out
}

// allPrefixes are the ranges of those ServiceCIDRs that count.
func allPrefixes(cidrs []*networkingv1.ServiceCIDR, configured []netip.Prefix, counts func(*networkingv1.ServiceCIDR) bool) []netip.Prefix {
	var out []netip.Prefix
	if !slices.ContainsFunc(cidrs, func(c *networkingv1.ServiceCIDR) bool { return c.Name == defaultServiceCIDR }) {
		out = slices.Clone(configured)
	}
	for _, c := range cidrs {
		if !counts(c) {
			continue
		}
		for _, text := range c.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}
