// Package pvprotection keeps PersistentVolumes that are bound: their finalizer goes only when nothing is bound to them.
package pvprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env     controller.Env
	volumes listers.PersistentVolumeLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	volumes := env.Informers.Core().V1().PersistentVolumes()
	r := &reconciler{env: env, volumes: volumes.Lister()}
	return controller.Spec{
		Name: "pvprotection", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: volumes.Informer(), Keys: unsettled}},
	}, nil
}

func unsettled(_, after metav1.Object) []controller.Key {
	if volume, ok := after.(*corev1.PersistentVolume); ok && Finalizers(volume) != nil {
		return []controller.Key{controller.KeyOf(volume)}
	}
	return nil
}

// Finalizers answers the finalizers that the volume should have, nil if it has them.
func Finalizers(volume *corev1.PersistentVolume) []string {
	protected := slices.Contains(volume.Finalizers, claims.VolumeProtectionFinalizer)
	switch {
	case volume.DeletionTimestamp == nil && !protected:
		return append(slices.Clone(volume.Finalizers), claims.VolumeProtectionFinalizer)
	case volume.DeletionTimestamp != nil && protected && volume.Status.Phase != corev1.VolumeBound:
		return append([]string{}, claims.Without(volume.Finalizers, claims.VolumeProtectionFinalizer)...)
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	volume, err := r.volumes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading volume: %w", err)
	}
	wanted := Finalizers(volume)
	if wanted == nil {
		return controller.Result{}, nil
	}
	volume = volume.DeepCopy()
	volume.Finalizers = wanted
	_, err = r.env.Client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("updating finalizers of the volume: %w", err)
	}
	return controller.Result{}, nil
}
