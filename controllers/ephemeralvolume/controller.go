// Package ephemeralvolume makes the PersistentVolumeClaims of pods' generic ephemeral volumes (KEP-1698): POD-VOLUME,
// owned by the pod and collected with it.
package ephemeralvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env     controller.Env
	pods    listers.PodLister
	indexer cache.Indexer
	claims  listers.PersistentVolumeClaimLister
}

// New declares the controller; its keys are pods.
func New(env controller.Env) (controller.Spec, error) {
	pvcs, pods := env.Informers.Core().V1().PersistentVolumeClaims(), env.Informers.Core().V1().Pods()
	if err := claims.Index(pods.Informer()); err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{env: env, pods: pods.Lister(), indexer: pods.Informer().GetIndexer(), claims: pvcs.Lister()}
	return controller.Spec{
		Name: "ephemeralvolume", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: pods.Informer(), Keys: added},
			{Informer: pvcs.Informer(), Keys: r.orphaned},
		},
	}, nil
}

// added names a new pod with such a volume: a pod's volumes never change.
func added(before, after metav1.Object) []controller.Key {
	if pod := controller.PodOf(after); pod != nil && (before == nil || before.GetUID() != pod.UID) && wants(pod) {
		return []controller.Key{controller.KeyOf(pod)}
	}
	return nil
}

func wants(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, v := range pod.Spec.Volumes {
		if v.Ephemeral != nil {
			return true
		}
	}
	return false
}

// orphaned names the pods that a deleted claim leaves without.
func (r *reconciler) orphaned(before, after metav1.Object) []controller.Key {
	if after != nil {
		return nil
	}
	pods, err := claims.Pods(r.indexer, controller.KeyOf(before))
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, pod := range pods {
		if wants(pod) {
			keys = append(keys, controller.KeyOf(pod))
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	pod, err := r.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || (err == nil && !wants(pod)) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading pod: %w", err)
	}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.Ephemeral == nil {
			continue
		}
		if err := r.ensure(ctx, pod, volume); err != nil {
			r.env.Events.Eventf(pod, corev1.EventTypeWarning, "FailedBinding", "ephemeral volume %s: %v", volume.Name, err)
			return controller.Result{}, fmt.Errorf("ephemeral volume %s: %w", volume.Name, err)
		}
	}
	return controller.Result{}, nil
}

func (r *reconciler) ensure(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	wanted := Claim(pod, volume)
	there, err := r.claims.PersistentVolumeClaims(pod.Namespace).Get(wanted.Name)
	if err == nil {
		return ephemeral.VolumeIsForPod(pod, there) //nolint:wrapcheck // says all that is to say
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading PVC %s: %w", wanted.Name, err)
	}
	if _, err := r.env.Client.CoreV1().PersistentVolumeClaims(pod.Namespace).Create(ctx, wanted, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create PVC %s: %w", wanted.Name, err)
	}
	return nil
}

// Claim answers the claim of a pod's ephemeral volume.
func Claim(pod *corev1.Pod, volume *corev1.Volume) *corev1.PersistentVolumeClaim {
	template := volume.Ephemeral.VolumeClaimTemplate.DeepCopy()
	owner := metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: ephemeral.VolumeClaimName(pod, volume), Namespace: pod.Namespace,
			Labels: template.Labels, Annotations: template.Annotations, OwnerReferences: []metav1.OwnerReference{*owner},
		},
		Spec: template.Spec,
	}
}
