// Package staledisruption withdraws the announcement that a pod is about to be disrupted (its condition DisruptionTarget,
// KEP-3329) when the pod was not deleted within two minutes.
package staledisruption

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

// patience is how long after its announcement a pod may still be there.
const patience = 2 * time.Minute

type reconciler struct {
	env  controller.Env
	pods listers.PodLister
}

// New declares the controller; its keys are pods.
func New(env controller.Env) (controller.Spec, error) {
	pods := env.Informers.Core().V1().Pods()
	r := &reconciler{env: env, pods: pods.Lister()}
	return controller.Spec{
		Name: "staledisruption", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: pods.Informer(), Keys: announced}},
	}, nil
}

func announced(_, after metav1.Object) []controller.Key {
	if pod := controller.PodOf(after); pod != nil {
		if _, stale := Left(pod, time.Time{}); stale {
			return []controller.Key{controller.KeyOf(pod)}
		}
	}
	return nil
}

// Left answers how long a pod that was announced to be disrupted may still be there; ok is false if it was not, or what
// announced it needs no deletion: the kubelet ends pods in its own time.
func Left(pod *corev1.Pod, now time.Time) (left time.Duration, ok bool) {
	c := podset.Condition(pod, corev1.DisruptionTarget)
	if pod.DeletionTimestamp != nil || podset.Finished(pod) || c == nil || c.Status != corev1.ConditionTrue || c.Reason == corev1.PodReasonTerminationByKubelet {
		return 0, false
	}
	return max(0, c.LastTransitionTime.Add(patience).Sub(now)), true
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	pod, err := r.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading pod: %w", err)
	}
	now := r.env.Clock.Now()
	left, announced := Left(pod, now)
	if !announced || left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion}, // it may have been announced anew
		"status": map[string]any{"conditions": []map[string]any{{
			"type": corev1.DisruptionTarget, "status": corev1.ConditionFalse, "reason": nil, "message": nil,
			"lastTransitionTime": metav1.NewTime(now), "observedGeneration": pod.Generation,
		}}},
	})
	if err != nil {
		return controller.Result{}, fmt.Errorf("encoding patch: %w", err)
	}
	_, err = r.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("withdrawing the announcement: %w", err)
	}
	return controller.Result{}, nil
}
