// Package pvcprotection keeps PersistentVolumeClaims that pods use: their finalizer goes with the last pod.
package pvcprotection

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env    controller.Env
	claims listers.PersistentVolumeClaimLister
	pods   cache.Indexer
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	pvcs, pods := env.Informers.Core().V1().PersistentVolumeClaims(), env.Informers.Core().V1().Pods()
	if err := claims.Index(pods.Informer()); err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{env: env, claims: pvcs.Lister(), pods: pods.Informer().GetIndexer()}
	return controller.Spec{
		Name: "pvcprotection", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: pvcs.Informer(), Keys: unsettled},
			{Informer: pods.Informer(), Keys: freed},
		},
	}, nil
}

func unsettled(_, after metav1.Object) []controller.Key {
	claim, ok := after.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil
	}
	if wanted, _ := Finalizers(claim, func() (bool, error) { return false, nil }); wanted == nil {
		return nil
	}
	return []controller.Key{controller.KeyOf(claim)}
}

// freed names the claims that the pod's event may have set free.
func freed(before, after metav1.Object) []controller.Key {
	old, pod := controller.PodOf(before), controller.PodOf(after)
	var keys []controller.Key
	if pod != nil && frees(pod) {
		keys = claims.Of(pod)
	}
	if old != nil && (pod == nil || pod.UID != old.UID) { // the new one may have the old one's name
		keys = append(keys, claims.Of(old)...)
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	claim, err := r.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading claim: %w", err)
	}
	wanted, err := Finalizers(claim, func() (bool, error) { return r.used(ctx, claim) })
	if err != nil || wanted == nil {
		return controller.Result{}, err
	}
	claim = claim.DeepCopy()
	claim.Finalizers = wanted
	_, err = r.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("updating finalizers of the claim: %w", err)
	}
	return controller.Result{}, nil
}

// used looks in the cache and, if no user is there, in the API: the cache may not have seen the pod yet.
func (r *reconciler) used(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	cached, err := claims.Pods(r.pods, controller.KeyOf(claim))
	if err != nil {
		return false, err
	}
	for _, pod := range cached {
		if Uses(pod, claim) {
			return true, nil
		}
	}
	live, err := r.env.Client.CoreV1().Pods(claim.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing pods: %w", err)
	}
	for i := range live.Items {
		if Uses(&live.Items[i], claim) {
			return true, nil
		}
	}
	return false, nil
}
