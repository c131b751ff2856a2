package statefulset

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

func (r *reconciler) apply(ctx context.Context, set *appsv1.StatefulSet, h history, plan Plan) error {
	var errs []error
	for _, c := range plan.Create {
		errs = append(errs, r.create(ctx, set, h, c))
	}
	for _, pod := range plan.Claim {
		errs = append(errs, r.ensureClaims(ctx, set, pod))
	}
	for n, pod := range plan.Fix {
		err := r.fix(ctx, set, pod, n)
		r.tell(set, "Update", pod.Name, err)
		errs = append(errs, err)
	}
	for _, pod := range plan.Own {
		errs = append(errs, r.ownAll(ctx, set, pod))
	}
	if err := errors.Join(errs...); err != nil {
		return err // no pod goes before its claims have the owners that they should
	}
	for _, pod := range plan.Delete {
		errs = append(errs, r.delete(ctx, set, pod))
	}
	return errors.Join(errs...)
}

// create makes the claims that are missing, then the pod.
func (r *reconciler) create(ctx context.Context, set *appsv1.StatefulSet, h history, c Creation) error {
	form := h.updateSet
	if c.Revision == h.current.Name {
		form = h.currentSet
	}
	pod := newPod(form, c.Ordinal, c.Revision)
	if name, blocked := r.blocked(set, pod); blocked {
		return fmt.Errorf("claim %s still belongs to the former pod %s", name, pod.Name)
	}
	if err := r.ensureClaims(ctx, set, pod); err != nil {
		r.tell(set, "Create", pod.Name, err)
		return err
	}
	created, err := r.env.Client.CoreV1().Pods(set.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) || podset.NamespaceTerminating(err) {
		return podset.IgnoreTerminating(err)
	}
	r.tell(set, "Create", pod.Name, err)
	if err != nil {
		return fmt.Errorf("creating pod %s: %w", pod.Name, err)
	}
	r.log.Wrote(controller.KeyOf(set), r.pods, created)
	return nil
}

// tell records what became of a pod: the verb is Create, Update or Delete.
func (r *reconciler) tell(set *appsv1.StatefulSet, verb, pod string, err error) {
	if err != nil {
		r.env.Events.Eventf(set, corev1.EventTypeWarning, "Failed"+verb, "%s Pod %s in StatefulSet %s failed error: %s", verb, pod, set.Name, err)
		return
	}
	r.env.Events.Eventf(set, corev1.EventTypeNormal, "Successful"+verb, "%s Pod %s in StatefulSet %s successful", verb, pod, set.Name)
}

// blocked answers a claim that goes with the pod's predecessor, which was scaled away.
func (r *reconciler) blocked(set *appsv1.StatefulSet, pod *corev1.Pod) (string, bool) {
	if retention(set).WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		return "", false
	}
	for _, claim := range claims(set, ordinal(set, pod)) {
		if found, err := r.claims.PersistentVolumeClaims(set.Namespace).Get(claim.Name); err == nil && stale(found, podKind(), pod) {
			return claim.Name, true
		}
	}
	return "", false
}

// ensureClaims makes the pod's claims; one that is just being deleted must be gone before its pod can be made.
func (r *reconciler) ensureClaims(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	for _, claim := range claims(set, ordinal(set, pod)) {
		found, err := r.claims.PersistentVolumeClaims(set.Namespace).Get(claim.Name)
		switch {
		case apierrors.IsNotFound(err):
			if err := r.makeClaim(ctx, set, claim, pod); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("reading claim %s: %w", claim.Name, err)
		case found.DeletionTimestamp != nil:
			return fmt.Errorf("pvc %s is being deleted", claim.Name)
		default:
			if err := r.own(ctx, set, found, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reconciler) makeClaim(ctx context.Context, set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim, pod *corev1.Pod) error {
	claim.OwnerReferences = claimOwners(set, claim, pod)
	created, err := r.env.Client.CoreV1().PersistentVolumeClaims(set.Namespace).Create(ctx, claim, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		r.env.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %s", claim.Name, pod.Name, set.Name, err)
		return fmt.Errorf("creating claim %s: %w", claim.Name, err)
	}
	r.env.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", claim.Name, pod.Name, set.Name)
	r.log.Wrote(controller.KeyOf(set), r.claimed, created)
	return nil
}

// ownAll gives a pod's claims the owners that the retention policy demands.
func (r *reconciler) ownAll(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	for _, claim := range claims(set, ordinal(set, pod)) {
		found, err := r.claims.PersistentVolumeClaims(set.Namespace).Get(claim.Name)
		if apierrors.IsNotFound(err) {
			continue // what is not there has no owner
		}
		if err != nil {
			return fmt.Errorf("reading claim %s: %w", claim.Name, err)
		}
		if err := r.own(ctx, set, found, pod); err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciler) own(ctx context.Context, set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim, pod *corev1.Pod) error {
	if conflicting(set, claim, pod) {
		r.env.Events.Eventf(set, corev1.EventTypeWarning, "ConflictingController",
			"PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim", claim.Name)
	}
	owners := claimOwners(set, claim, pod)
	if equality.Semantic.DeepEqual(owners, claim.OwnerReferences) {
		return nil
	}
	changed := claim.DeepCopy()
	changed.OwnerReferences = owners
	result, err := r.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating the owners of claim %s: %w", claim.Name, err)
	}
	r.log.Wrote(controller.KeyOf(set), r.claimed, result)
	return nil
}

// fix gives the pod its labels and its claims their owners again.
func (r *reconciler) fix(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod, n int) error {
	if err := r.ownAll(ctx, set, pod); err != nil || identified(pod, n) {
		return err
	}
	changed := pod.DeepCopy()
	identify(set, changed, n)
	changed.Spec.Volumes = pod.Spec.Volumes // cannot change; the labels can
	result, err := r.env.Client.CoreV1().Pods(pod.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("restoring the identity of pod %s: %w", pod.Name, err)
	}
	r.log.Wrote(controller.KeyOf(set), r.pods, result)
	return nil
}

func (r *reconciler) delete(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	err := r.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	r.tell(set, "Delete", pod.Name, err)
	if err != nil {
		return fmt.Errorf("deleting pod %s: %w", pod.Name, err)
	}
	r.log.Deleted(controller.KeyOf(set), r.pods, pod)
	return nil
}
