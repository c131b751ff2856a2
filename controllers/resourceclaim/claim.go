package resourceclaim

import (
	"context"
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/controller"
)

// claim takes consumers that are gone off the claim, frees its devices with the last one, and ends claims of pods
// that won't run.
func (r *reconciler) claim(ctx context.Context, key controller.Key, name string) error {
	claim, err := r.claims.ResourceClaims(key.Namespace).Get(name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading claim: %w", err)
	}
	remaining := make([]resourcev1.ResourceClaimConsumerReference, 0, len(claim.Status.ReservedFor))
	for _, consumer := range claim.Status.ReservedFor {
		keep, err := r.uses(ctx, claim.Namespace, consumer)
		if err != nil {
			return err
		}
		if keep {
			remaining = append(remaining, consumer)
		}
	}
	if err := r.apply(ctx, key, claim, Next(claim, remaining)); err != nil {
		return err
	}
	if len(remaining) > 0 {
		return nil
	}
	return r.end(ctx, key, claim)
}

// uses answers whether the consumer may still need the claim. A pod that the cache does not know and never saw may be
// one that the scheduler has just seen, so the API is asked. Consumers of other kinds are not ours to judge.
func (r *reconciler) uses(ctx context.Context, namespace string, consumer resourcev1.ResourceClaimConsumerReference) (bool, error) {
	if consumer.APIGroup != "" || consumer.Resource != "pods" {
		return true, nil
	}
	if _, gone := r.gone.Get(consumer.UID); gone {
		return false, nil
	}
	pod, err := r.pods.Pods(namespace).Get(consumer.Name)
	if err == nil {
		return pod.UID == consumer.UID && !Done(pod), nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading pod %s: %w", consumer.Name, err)
	}
	pod, err = r.env.Client.CoreV1().Pods(namespace).Get(ctx, consumer.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking for pod %s: %w", consumer.Name, err)
	}
	return pod.UID == consumer.UID, nil
}

// apply writes with the version that was read, so that a reservation made meanwhile is never lost.
func (r *reconciler) apply(ctx context.Context, key controller.Key, claim *resourcev1.ResourceClaim, step Step) error {
	client := r.env.Client.ResourceV1().ResourceClaims(claim.Namespace)
	if step.Status {
		changed := claim.DeepCopy()
		changed.Status.ReservedFor = step.Remaining
		if step.Deallocate {
			changed.Status.Allocation = nil
		}
		updated, err := client.UpdateStatus(ctx, changed, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("updating status of the claim: %w", err)
		}
		r.log.Wrote(key, r.index, updated)
		claim = updated
	}
	if !step.Release {
		return nil
	}
	changed := claim.DeepCopy()
	changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
	updated, err := client.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating finalizers of the claim: %w", err)
	}
	r.log.Wrote(key, r.index, updated)
	return nil
}

// end deletes a claim that was made for a pod which won't run: the pod itself may stay for long. One whose pod is not
// there is the garbage collector's.
func (r *reconciler) end(ctx context.Context, key controller.Key, claim *resourcev1.ResourceClaim) error {
	name, uid := Owner(claim)
	if name == "" || claim.DeletionTimestamp != nil {
		return nil
	}
	pod, err := r.pods.Pods(claim.Namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && pod.UID == uid && !Done(pod)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lookup pod: %w", err)
	}
	err = r.env.Client.ResourceV1().ResourceClaims(claim.Namespace).Delete(ctx, claim.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(claim.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete unused generated claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	r.log.Deleted(key, r.index, claim)
	return nil
}
