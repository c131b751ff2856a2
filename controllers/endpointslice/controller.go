// Package endpointslice keeps the EndpointSlices of Services with a selector; what they contain is decided by
// k8s.io/endpointslice.
package endpointslice

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/ownslices"
)

const (
	managedBy    = "endpointslice-controller.k8s.io"
	maxEndpoints = 100
	staleRetry   = 50 * time.Millisecond
)

type reconciler struct {
	env      controller.Env
	services listers.ServiceLister
	pods     listers.PodLister
	nodes    listers.NodeLister
	slices   discoverylisters.EndpointSliceLister
	tracker  *endpointsliceutil.EndpointSliceTracker
	triggers *endpointsliceutil.TriggerTimeTracker
	topology *topologycache.TopologyCache
	decide   *endpointslice.Reconciler
}

// New declares the controller; its keys are services.
func New(env controller.Env) (controller.Spec, error) {
	core, slices := env.Informers.Core().V1(), env.Informers.Discovery().V1().EndpointSlices()
	r := &reconciler{
		env: env, services: core.Services().Lister(), pods: core.Pods().Lister(), nodes: core.Nodes().Lister(), slices: slices.Lister(),
		tracker:  endpointsliceutil.NewEndpointSliceTracker(),
		triggers: endpointsliceutil.NewTriggerTimeTracker(),
		topology: topologycache.NewTopologyCache(),
	}
	r.decide = endpointslice.NewReconciler(env.Client, r.nodes, maxEndpoints, r.tracker, r.topology, env.Events, managedBy,
		endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	if err := registerMetrics(env.Metrics); err != nil {
		return controller.Spec{}, err
	}
	return controller.Spec{
		Name: "endpointslice", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: core.Services().Informer(), Keys: controller.Self},
			{Informer: core.Pods().Informer(), Keys: r.ofPod},
			{Informer: slices.Informer(), Keys: ownslices.Services(managedBy, r.tracker)},
			{Informer: core.Nodes().Informer(), Keys: r.ofNode},
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	result, err := r.sync(ctx, key)
	count(result, err)
	return result, err
}

func (r *reconciler) sync(ctx context.Context, key controller.Key) (controller.Result, error) {
	service, err := r.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.triggers.DeleteService(key.Namespace, key.Name)
		r.decide.DeleteService(key.Namespace, key.Name)
		r.tracker.DeleteService(key.Namespace, key.Name)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading service: %w", err)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil {
		return controller.Result{}, nil // another controller's, or the user's
	}
	pods, err := r.pods.Pods(service.Namespace).List(labels.SelectorFromSet(service.Spec.Selector))
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing pods: %w", err)
	}
	slices, err := r.owned(service)
	if err != nil {
		return controller.Result{}, err
	}
	if r.tracker.StaleSlices(service, slices) {
		return controller.Result{RequeueAfter: staleRetry}, nil // the slices' own events come first as a rule
	}
	trigger := r.triggers.ComputeEndpointLastChangeTriggerTime(service.Namespace, service, pods)
	if err := r.decide.Reconcile(klog.FromContext(ctx), service, pods, slices, trigger); err != nil {
		if !apierrors.IsConflict(err) && service.DeletionTimestamp == nil {
			r.env.Events.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", service.Namespace, service.Name, err)
		}
		return controller.Result{}, fmt.Errorf("reconciling slices: %w", err)
	}
	return controller.Result{}, nil
}

func (r *reconciler) owned(service *corev1.Service) ([]*discoveryv1.EndpointSlice, error) {
	selector := labels.Set{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: managedBy}.AsSelectorPreValidated()
	found, err := r.slices.EndpointSlices(service.Namespace).List(selector)
	if err != nil {
		return nil, fmt.Errorf("listing slices: %w", err)
	}
	live := found[:0:0]
	for _, s := range found {
		if s.DeletionTimestamp == nil {
			live = append(live, s)
		}
	}
	return live, nil
}
