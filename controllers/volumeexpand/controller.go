// Package volumeexpand tells who is to expand the volumes of PersistentVolumeClaims that ask for more. It expands
// none itself: CSI drivers' resizers and the node's own provisioner (kubelet/localpath) do.
package volumeexpand

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
)

const (
	externalExpanding = "ExternalExpanding"
	resizerAnnotation = "volume.kubernetes.io/storage-resizer"
)

type reconciler struct {
	env     controller.Env
	claims  listers.PersistentVolumeClaimLister
	volumes listers.PersistentVolumeLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	pvcs, pvs := env.Informers.Core().V1().PersistentVolumeClaims(), env.Informers.Core().V1().PersistentVolumes()
	r := &reconciler{env: env, claims: pvcs.Lister(), volumes: pvs.Lister()}
	return controller.Spec{
		Name: "volumeexpand", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: pvcs.Informer(), Keys: resized}},
	}, nil
}

func resized(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.PersistentVolumeClaim)
	if claim, ok := after.(*corev1.PersistentVolumeClaim); ok && Grows(old, claim) {
		return []controller.Key{controller.KeyOf(claim)}
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	claim, err := r.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading claim: %w", err)
	}
	volume, err := r.volumes.Get(claim.Spec.VolumeName)
	if err != nil {
		return controller.Result{}, fmt.Errorf("failed to get PV %q: %w", claim.Spec.VolumeName, err)
	}
	plan, err := PlanClaim(claim, volume)
	if err != nil || plan.Message == "" {
		return controller.Result{}, err
	}
	r.env.Events.Event(claim, corev1.EventTypeNormal, externalExpanding, plan.Message)
	if plan.Resizer == "" || claim.Annotations[resizerAnnotation] == plan.Resizer {
		return controller.Result{}, nil
	}
	if err := r.setResizer(ctx, claim, plan.Resizer); err != nil {
		err = fmt.Errorf("error setting resizer annotation to pvc %s, with error %w", key, err)
		r.env.Events.Event(claim, corev1.EventTypeWarning, externalExpanding, err.Error())
		return controller.Result{}, err
	}
	return controller.Result{}, nil
}

// setResizer goes through the status, which is all that the controller's role may write.
func (r *reconciler) setResizer(ctx context.Context, claim *corev1.PersistentVolumeClaim, name string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": claim.UID, "annotations": map[string]string{resizerAnnotation: name},
	}})
	if err != nil {
		return fmt.Errorf("encoding the patch: %w", err)
	}
	_, err = r.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(
		ctx, claim.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err //nolint:wrapcheck // the caller says what it is about
}
