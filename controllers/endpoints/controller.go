// Package endpoints keeps the legacy Endpoints objects of Services with a selector.
package endpoints

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	endpointsliceutil "k8s.io/endpointslice/util"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

type reconciler struct {
	env       controller.Env
	services  listers.ServiceLister
	pods      listers.PodLister
	endpoints listers.EndpointsLister
	store     written.Store
	log       written.Log
}

// New declares the controller; its keys are services.
func New(env controller.Env) (controller.Spec, error) {
	core := env.Informers.Core().V1()
	r := &reconciler{
		env: env, services: core.Services().Lister(), pods: core.Pods().Lister(),
		endpoints: core.Endpoints().Lister(), store: core.Endpoints().Informer().GetIndexer(),
	}
	return controller.Spec{
		Name: "endpoints", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: core.Services().Informer(), Keys: controller.Self},
			{Informer: core.Pods().Informer(), Keys: r.ofPod},
			{Informer: core.Endpoints().Informer(), Keys: controller.Self},
		},
	}, nil
}

func (r *reconciler) ofPod(before, after metav1.Object) []controller.Key {
	var old, pod any
	if after != nil {
		pod = after
	}
	if before != nil {
		old = before
	}
	projection := endpointsliceutil.GetPodUpdateProjectionKey(old, pod)
	if projection == nil {
		return nil
	}
	names, err := endpointsliceutil.GetServicesToUpdate(r.services, projection)
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for full := range names {
		namespace, name, _ := strings.Cut(full, "/")
		keys = append(keys, controller.Key{Namespace: namespace, Name: name})
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	service, err := r.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, r.remove(ctx, key)
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading service: %w", err)
	}
	if service.Spec.Selector == nil || service.Spec.Type == corev1.ServiceTypeExternalName {
		return controller.Result{}, nil // the user's own
	}
	pods, err := r.pods.Pods(key.Namespace).List(labels.SelectorFromSet(service.Spec.Selector))
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing pods: %w", err)
	}
	current, err := r.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		current, err = blank(service), nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading endpoints: %w", err)
	}
	wanted := Desired(service, current, pods)
	if wanted == nil {
		return controller.Result{}, nil
	}
	return controller.Result{}, r.write(ctx, service, wanted)
}

func (r *reconciler) write(ctx context.Context, service *corev1.Service, wanted *corev1.Endpoints) error {
	endpoints := r.env.Client.CoreV1().Endpoints(wanted.Namespace)
	var result *corev1.Endpoints
	var err error
	verb := "update"
	if wanted.ResourceVersion == "" {
		verb = "create"
		result, err = endpoints.Create(ctx, wanted, metav1.CreateOptions{})
	} else {
		result, err = endpoints.Update(ctx, wanted, metav1.UpdateOptions{})
	}
	switch {
	case err == nil:
		r.log.Wrote(controller.KeyOf(service), r.store, result)
		return nil
	case podset.NamespaceTerminating(err) || apierrors.IsAlreadyExists(err):
		return nil
	}
	r.env.Events.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to %s endpoint %s/%s: %v", verb, service.Namespace, service.Name, err)
	return fmt.Errorf("%s endpoints: %w", verb, err)
}

// remove deletes what the controller wrote for a service that is gone.
func (r *reconciler) remove(ctx context.Context, key controller.Key) error {
	r.log.Forget(key)
	current, err := r.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || (err == nil && current.Labels[managedBy] != manager) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading endpoints: %w", err)
	}
	err = r.env.Client.CoreV1().Endpoints(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(current.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting endpoints: %w", err)
	}
	return nil
}
