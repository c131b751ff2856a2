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
	for n, pod := range plan.Fix {
		errs = append(errs, r.fix(ctx, set, pod, n))
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
	if err := r.ensureClaims(ctx, set, form, c.Ordinal, pod); err != nil {
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

// ensureClaims makes the ordinal's claims; one that is just being deleted must be gone before its pod can be made.
func (r *reconciler) ensureClaims(ctx context.Context, set, form *appsv1.StatefulSet, n int, pod *corev1.Pod) error {
	for _, claim := range claims(form, n) {
		found, err := r.claims.PersistentVolumeClaims(set.Namespace).Get(claim.Name)
		switch {
		case apierrors.IsNotFound(err):
			claim.OwnerReferences = claimOwners(set, claim, nil, false)
			created, err := r.env.Client.CoreV1().PersistentVolumeClaims(set.Namespace).Create(ctx, claim, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				continue
			}
			if err != nil {
				r.env.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %s", claim.Name, pod.Name, set.Name, err)
				return fmt.Errorf("creating claim %s: %w", claim.Name, err)
			}
			r.env.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", claim.Name, pod.Name, set.Name)
			r.log.Wrote(controller.KeyOf(set), r.claimed, created)
		case err != nil:
			return fmt.Errorf("reading claim %s: %w", claim.Name, err)
		case found.DeletionTimestamp != nil:
			return fmt.Errorf("pvc %s is being deleted", claim.Name)
		default:
			if err := r.own(ctx, set, found, nil, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// own gives a claim the owners that the retention policy demands.
func (r *reconciler) own(ctx context.Context, set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim, pod *corev1.Pod, condemned bool) error {
	owners := claimOwners(set, claim, pod, condemned)
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

func (r *reconciler) fix(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod, n int) error {
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

// delete lets the claims of a pod that is scaled away go with it, if the policy says so, and deletes the pod.
func (r *reconciler) delete(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	n := ordinal(set, pod)
	p := newPlanner(Snapshot{Set: set})
	condemned := n < p.first || n >= p.first+p.count
	for _, claim := range claims(set, n) {
		found, err := r.claims.PersistentVolumeClaims(set.Namespace).Get(claim.Name)
		if err != nil {
			continue // what is not there has no owner
		}
		if err := r.own(ctx, set, found, pod, condemned); err != nil {
			return err
		}
	}
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
