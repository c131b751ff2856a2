// Package endpointslicemirroring copies the Endpoints of Services without a selector into EndpointSlices, for whoever
// writes the old kind by hand while the service proxy reads the new one.
//
// Services with a selector belong to the endpointslice controller, and so do their slices; the two tell theirs apart by
// the label endpointslice.kubernetes.io/managed-by.
package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	endpointsliceutil "k8s.io/endpointslice/util"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/ownslices"
	"skiff/controllers/internal/podset"
)

const (
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// capacity is the most addresses of a subset that are mirrored, so that a subset is one slice.
	capacity   = 1000
	staleRetry = 50 * time.Millisecond
)

type reconciler struct {
	env       controller.Env
	endpoints listers.EndpointsLister
	services  listers.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	tracker   *endpointsliceutil.EndpointSliceTracker
	counts    *counts
}

// New declares the controller; its keys are Endpoints, which are named as their services.
func New(env controller.Env) (controller.Spec, error) {
	register()
	core, slices := env.Informers.Core().V1(), env.Informers.Discovery().V1().EndpointSlices()
	r := &reconciler{
		env: env, endpoints: core.Endpoints().Lister(), services: core.Services().Lister(), slices: slices.Lister(),
		tracker: endpointsliceutil.NewEndpointSliceTracker(), counts: &counts{},
	}
	return controller.Spec{
		Name: "endpointslicemirroring", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: core.Endpoints().Informer(), Keys: ofEndpoints},
			{Informer: core.Services().Informer(), Keys: ofService},
			{Informer: slices.Informer(), Keys: ownslices.Services(managedBy, r.tracker)},
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	start := r.env.Clock.Now()
	defer func() { syncDuration.WithLabelValues().Observe(r.env.Clock.Since(start).Seconds()) }()
	endpoints, mirrored, err := r.wanted(key)
	if err != nil {
		return controller.Result{}, err
	}
	slices, err := r.owned(key)
	if err != nil {
		return controller.Result{}, err
	}
	if !mirrored {
		return controller.Result{}, r.clear(ctx, key, slices)
	}
	of := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if r.tracker.StaleSlices(of, slices) {
		return controller.Result{RequeueAfter: staleRetry}, nil // the slices' own events come first as a rule
	}
	plan := Plan(endpoints, slices)
	r.tell(endpoints, plan)
	r.counts.set(key, plan.Packing)
	return controller.Result{}, r.apply(ctx, endpoints, plan)
}

// wanted answers the key's Endpoints, and whether they are to be mirrored.
func (r *reconciler) wanted(key controller.Key) (*corev1.Endpoints, bool, error) {
	endpoints, err := r.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || (err == nil && !mirrors(endpoints)) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading endpoints: %w", err)
	}
	service, err := r.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading service: %w", err)
	}
	return endpoints, service.Spec.Selector == nil, nil
}

func (r *reconciler) owned(key controller.Key) ([]*discoveryv1.EndpointSlice, error) {
	selector := labels.Set{discoveryv1.LabelServiceName: key.Name, discoveryv1.LabelManagedBy: managedBy}.AsSelectorPreValidated()
	found, err := r.slices.EndpointSlices(key.Namespace).List(selector)
	if err != nil {
		return nil, fmt.Errorf("listing slices: %w", err)
	}
	return found, nil
}

// clear deletes all slices of a service that is not mirrored, or not any more.
func (r *reconciler) clear(ctx context.Context, key controller.Key, slices []*discoveryv1.EndpointSlice) error {
	r.tracker.DeleteService(key.Namespace, key.Name)
	r.counts.forget(key)
	var errs []error
	for _, slice := range slices {
		err := r.env.Client.DiscoveryV1().EndpointSlices(key.Namespace).Delete(ctx, slice.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(slice.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("deleting slice %s: %w", slice.Name, err))
		}
	}
	return errors.Join(errs...)
}

// tell says what was left out.
func (r *reconciler) tell(endpoints *corev1.Endpoints, plan Changes) {
	addressesSkipped.WithLabelValues().Observe(float64(plan.Skipped))
	endpointsAdded.WithLabelValues().Observe(float64(plan.Added))
	endpointsUpdated.WithLabelValues().Observe(float64(plan.Updated))
	endpointsRemoved.WithLabelValues().Observe(float64(plan.Removed))
	if plan.Invalid > 0 {
		r.env.Events.Eventf(endpoints, corev1.EventTypeWarning, "InvalidIPAddress", "Skipped %d invalid IP addresses when mirroring to EndpointSlices", plan.Invalid)
	}
	if plan.Skipped > plan.Invalid {
		r.env.Events.Eventf(endpoints, corev1.EventTypeWarning, "TooManyAddressesToMirror",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", capacity, plan.Skipped)
	}
}

func (r *reconciler) apply(ctx context.Context, endpoints *corev1.Endpoints, plan Changes) error {
	client := r.env.Client.DiscoveryV1().EndpointSlices(endpoints.Namespace)
	for _, slice := range plan.Keep {
		if !r.tracker.Has(slice) {
			r.tracker.Update(slice)
		}
	}
	for _, slice := range plan.Create {
		if endpoints.DeletionTimestamp != nil {
			break
		}
		created, err := client.Create(ctx, slice, metav1.CreateOptions{})
		if podset.NamespaceTerminating(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("creating slice: %w", err)
		}
		r.tracker.Update(created)
		changes.WithLabelValues("create").Inc()
	}
	for _, slice := range plan.Update {
		updated, err := client.Update(ctx, slice, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("updating slice %s: %w", slice.Name, err)
		}
		r.tracker.Update(updated)
		changes.WithLabelValues("update").Inc()
	}
	for _, slice := range plan.Delete {
		if err := client.Delete(ctx, slice.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting slice %s: %w", slice.Name, err)
		}
		r.tracker.ExpectDeletion(slice)
		changes.WithLabelValues("delete").Inc()
	}
	return nil
}
