package job

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/controller"
)

// heldIndex finds pods with the tracking finalizer by the job that they are or were of.
const heldIndex = "skiff.controllers/held"

// jobOf answers the key of the job that a pod is held for: its controller, or without one what its labels say. A pod that
// something else controls is held for none.
func jobOf(pod *corev1.Pod) (controller.Key, bool) {
	if !tracked(pod) {
		return controller.Key{}, false
	}
	key := controller.Key{Namespace: pod.Namespace, Name: pod.Labels[batchv1.JobNameLabel]}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if ref.Kind != kind().Kind || ref.APIVersion != batchv1.SchemeGroupVersion.String() {
			return controller.Key{}, false
		}
		key.Name = ref.Name
	}
	return key, true
}

func heldFor(o any) ([]string, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	if key, held := jobOf(pod); held {
		return []string{key.String()}, nil
	}
	return nil, nil
}

// orphan names the job of a held pod that no controller has any more.
func orphan(_, after metav1.Object) []controller.Key {
	pod := controller.PodOf(after)
	if pod == nil || metav1.GetControllerOfNoCopy(pod) != nil {
		return nil
	}
	if key, held := jobOf(pod); held {
		return []controller.Key{key}
	}
	return nil
}

// releaseOrphans lets go the pods that are held for a job but not among its own: the job is gone, or another one has its
// name. Nobody else would, and they could never be deleted.
func (r *reconciler) releaseOrphans(ctx context.Context, key controller.Key, own []*corev1.Pod) error {
	items, err := r.pods.ByIndex(heldIndex, key.String())
	if err != nil {
		return fmt.Errorf("reading held pods: %w", err)
	}
	var orphans []*corev1.Pod
	for _, item := range items {
		if pod, ok := item.(*corev1.Pod); ok && !slices.ContainsFunc(own, func(o *corev1.Pod) bool { return o.UID == pod.UID }) {
			orphans = append(orphans, pod)
		}
	}
	return r.release(ctx, key, orphans)
}
