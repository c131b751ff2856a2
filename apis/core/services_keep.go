package core

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	repairEvery   = 3 * time.Minute
	repairTimeout = time.Minute
)

// Keep repairs what the allocators took, at once and then every few minutes,
// until ctx ends. It repairs what no request could: what a killed server left
// behind, and what others changed in the objects.
func (a *allocator) Keep(ctx context.Context) {
	services := a.deps.Informers.Core().V1().Services().Informer()
	if !cache.WaitForCacheSync(ctx.Done(), services.HasSynced, a.addresses.cidrs.synced, a.addresses.taken.synced) {
		return
	}
	every := a.deps.RepairEvery
	if every == 0 {
		every = repairEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		a.repair(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *allocator) repair(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	if err := a.repairAddresses(ctx); err != nil && ctx.Err() == nil {
		addressRepairFails.WithLabelValues().Inc()
		klog.FromContext(ctx).Error(err, "Repairing cluster IPs")
	}
	if err := a.repairPorts(ctx); err != nil && ctx.Err() == nil {
		portRepairFails.WithLabelValues().Inc()
		klog.FromContext(ctx).Error(err, "Repairing node ports")
	}
}

// repairAddresses works on the caches: an address that only seems to be missing
// can't be made twice, and one that only seems to be alone is in its grace.
func (a *allocator) repairAddresses(ctx context.Context) error {
	services, err1 := a.deps.Informers.Core().V1().Services().Lister().List(labels.Everything())
	taken, err2 := a.addresses.taken.lister.List(labels.Everything())
	cidrs, err3 := a.addresses.cidrs.lister.List(labels.Everything())
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	state := addressState{services: services, addresses: taken}
	for _, p := range allPrefixes(cidrs, a.addresses.configured, func(*networkingv1.ServiceCIDR) bool { return true }) {
		state.ranges = append(state.ranges, newAddressRange(p))
	}
	var errs []error
	for _, r := range state.repairs(time.Now()) { //nolint:forbidigo // against the store's timestamps
		errs = append(errs, a.repairAddress(ctx, r))
	}
	return errors.Join(errs...)
}

func (a *allocator) repairAddress(ctx context.Context, r addressRepair) error {
	if r.delete {
		if err := a.addresses.release(ctx, r.ip); err != nil {
			return err
		}
	}
	if r.create != nil {
		ip, err := netip.ParseAddr(r.ip)
		if err != nil {
			return fmt.Errorf("repairing %s: %w", r.ip, err)
		}
		_, err = a.addresses.client.IPAddresses().Create(ctx, addressOf(r.create, ip), metav1.CreateOptions{FieldManager: allocatorName})
		if apierrors.IsAlreadyExists(err) {
			return nil // the cache was late
		}
		if err != nil {
			return fmt.Errorf("repairing %s: %w", r.ip, err)
		}
	}
	addressRepaired.WithLabelValues(r.kind).Inc()
	switch about := r.about.(type) {
	case *corev1.Service:
		return a.warn(ctx, referenceTo(about), "ipallocator-repair-controller", "ClusterIPAllocation", r.reason, r.note)
	case *networkingv1.IPAddress:
		ref := corev1.ObjectReference{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "IPAddress", Name: about.Name, UID: about.UID}
		return a.warn(ctx, ref, "ipallocator-repair-controller", "IPAddressAllocation", r.reason, r.note)
	}
	return nil
}

// repairPorts reads the ports before the Services, and both from the store: a
// port without Service was taken before the Services were read.
func (a *allocator) repairPorts(ctx context.Context) error {
	taken, err := a.ports.list(ctx)
	if err != nil {
		return err
	}
	list, err := a.deps.Client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing services for their node ports: %w", err)
	}
	inRange := 0
	for n := range taken {
		if a.ports.valid.Contains(int(n)) {
			inRange++
		}
	}
	portsAllocated.Set(float64(inRange))
	portsAvailable.Set(float64(a.ports.valid.Size - inRange))
	var errs []error
	for _, r := range portRepairs(taken, list.Items, a.ports.valid, time.Now()) { //nolint:forbidigo // against the store's timestamps
		errs = append(errs, a.repairPort(ctx, r))
	}
	return errors.Join(errs...)
}

func (a *allocator) repairPort(ctx context.Context, r portRepair) error {
	if r.free {
		a.ports.free(ctx, r.port)
	}
	if r.take != nil {
		err := a.ports.create(ctx, r.take, r.port)
		if errors.Is(err, errTakenPort) {
			return nil // a Service that was created meanwhile
		}
		if err != nil {
			return fmt.Errorf("repairing node port %d: %w", r.port, err)
		}
	}
	portRepaired.WithLabelValues(r.kind).Inc()
	if r.about == nil {
		return nil
	}
	return a.warn(ctx, referenceTo(r.about), "portallocator-repair-controller", "PortAllocation", r.reason, r.note)
}

func referenceTo(s *corev1.Service) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID}
}

// warn tells of a repair by an event; none without a reason.
func (a *allocator) warn(ctx context.Context, about corev1.ObjectReference, who, action, reason, note string) error {
	if reason == "" {
		return nil
	}
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	at := metav1.NowMicro()
	name := fmt.Sprintf("%s.%x", strings.ReplaceAll(about.Name, ":", "-"), at.UnixNano())
	event := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: name, Namespace: namespace},
		EventTime:           at,
		ReportingController: who, ReportingInstance: who + "-" + allocatorName,
		Action: action, Reason: reason, Regarding: about, Note: note, Type: corev1.EventTypeWarning,
	}
	if _, err := a.deps.Client.EventsV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{FieldManager: allocatorName}); err != nil {
		return fmt.Errorf("telling of %s: %w", reason, err)
	}
	return nil
}
