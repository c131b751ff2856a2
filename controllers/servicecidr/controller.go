// Package servicecidr guards the ranges of Service addresses: a ServiceCIDR is ready, has a finalizer, and is let go
// only when no address would be left without a range.
package servicecidr

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1apply "k8s.io/client-go/applyconfigurations/networking/v1"
	listers "k8s.io/client-go/listers/networking/v1"

	"skiff/controllers/internal/controller"
)

// fieldManager owns the status that the controller writes.
const fieldManager = "service-cidr-controller"

type reconciler struct {
	env       controller.Env
	cidrs     listers.ServiceCIDRLister
	addresses listers.IPAddressLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	cidrs, addresses := env.Informers.Networking().V1().ServiceCIDRs(), env.Informers.Networking().V1().IPAddresses()
	r := &reconciler{env: env, cidrs: cidrs.Lister(), addresses: addresses.Lister()}
	return controller.Spec{
		Name: "servicecidr", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: cidrs.Informer(), Keys: r.overlapping},
			{Informer: addresses.Informer(), Keys: r.containing},
		},
	}, nil
}

// overlapping names the range, and those that it lets go or holds by coming and going.
func (r *reconciler) overlapping(before, after metav1.Object) []controller.Key {
	keys := controller.Self(before, after)
	if before != nil && after != nil {
		return keys
	}
	about, ok := before.(*networkingv1.ServiceCIDR)
	if after != nil {
		about, ok = after.(*networkingv1.ServiceCIDR)
	}
	if !ok {
		return keys
	}
	own := prefixes(about)
	return append(keys, r.where(func(p netip.Prefix) bool { return slices.ContainsFunc(own, p.Overlaps) })...)
}

// containing names the ranges that a coming or going address lies in, as far as they are being deleted: for others it
// makes no difference.
func (r *reconciler) containing(before, after metav1.Object) []controller.Key {
	if before != nil && after != nil {
		return nil
	}
	about := after
	if about == nil {
		about = before
	}
	ip, err := netip.ParseAddr(about.GetName())
	if err != nil {
		return nil
	}
	return r.where(func(p netip.Prefix) bool { return p.Contains(ip) })
}

// where names the ServiceCIDRs that are being deleted and have a range that matches.
func (r *reconciler) where(match func(netip.Prefix) bool) (keys []controller.Key) {
	all, err := r.cidrs.List(labels.Everything())
	if err != nil {
		return nil // a cache does not fail
	}
	for _, c := range all {
		if c.DeletionTimestamp != nil && slices.ContainsFunc(prefixes(c), match) {
			keys = append(keys, controller.KeyOf(c))
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	cidr, err := r.cidrs.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading service CIDR: %w", err)
	}
	state := State{CIDR: cidr}
	if cidr.DeletionTimestamp != nil {
		if state.All, err = r.cidrs.List(labels.Everything()); err != nil {
			return controller.Result{}, fmt.Errorf("listing service CIDRs: %w", err)
		}
		if state.Addresses, err = r.addresses.List(labels.Everything()); err != nil {
			return controller.Result{}, fmt.Errorf("listing addresses: %w", err)
		}
	}
	plan := Plan(state, r.env.Clock.Now())
	return controller.Result{RequeueAfter: plan.After}, r.apply(ctx, cidr, plan)
}

func (r *reconciler) apply(ctx context.Context, cidr *networkingv1.ServiceCIDR, a Action) error {
	client := r.env.Client.NetworkingV1().ServiceCIDRs()
	if a.AddFinalizer || a.RemoveFinalizer {
		key := "finalizers"
		if a.RemoveFinalizer {
			key = "$deleteFromPrimitiveList/finalizers"
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{key: []string{Finalizer}}})
		if err != nil {
			return fmt.Errorf("writing a patch: %w", err)
		}
		_, err = client.Patch(ctx, cidr.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("changing the finalizer: %w", err)
		}
	}
	if a.Condition == nil {
		return nil
	}
	status := networkingv1apply.ServiceCIDRStatus().WithConditions(metav1apply.Condition().
		WithType(a.Condition.Type).WithStatus(a.Condition.Status).WithReason(a.Condition.Reason).
		WithMessage(a.Condition.Message).WithLastTransitionTime(a.Condition.LastTransitionTime))
	_, err := client.ApplyStatus(ctx, networkingv1apply.ServiceCIDR(cidr.Name).WithStatus(status), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil && !apierrors.IsNotFound(err) {
		if a.Condition.Status == metav1.ConditionTrue {
			r.env.Events.Event(cidr, corev1.EventTypeWarning, "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
		}
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}
