package deployment

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
)

func (r *reconciler) apply(ctx context.Context, d *appsv1.Deployment, plan Plan) error {
	if plan.Warning != nil {
		r.env.Events.Event(d, corev1.EventTypeWarning, plan.Warning.Reason, plan.Warning.Message)
	}
	if plan.Create != nil {
		done, err := r.create(ctx, d, plan.Create)
		if err != nil || !done {
			return err
		}
	}
	for _, u := range plan.Update {
		if err := r.update(ctx, d, u); err != nil {
			return err
		}
	}
	for _, set := range plan.Delete {
		if err := r.delete(ctx, d, set); err != nil {
			return err
		}
	}
	if plan.Rest > 0 {
		return nil
	}
	return r.writeStatus(ctx, d, plan.Deployment)
}

// create makes the set of the current template. It answers false when the plan must be given up: its namespace is
// going away, or the name was taken and the hash must be counted up.
func (r *reconciler) create(ctx context.Context, d *appsv1.Deployment, set *appsv1.ReplicaSet) (bool, error) {
	created, err := r.env.Client.AppsV1().ReplicaSets(set.Namespace).Create(ctx, set, metav1.CreateOptions{})
	switch {
	case err == nil:
		r.log.Wrote(controller.KeyOf(d), r.sets, created)
		if n := specReplicas(set); n > 0 {
			r.env.Events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", set.Name, n)
		}
		return true, nil
	case apierrors.IsAlreadyExists(err):
		return r.collide(ctx, d, set)
	case podset.NamespaceTerminating(err):
		return false, nil
	}
	r.env.Events.Eventf(d, corev1.EventTypeWarning, reasonCreateFail, "Failed to create new replica set %q: %v", set.Name, err)
	failed := r.writeStatus(ctx, d, CreateFailed(d, set.Name, err, r.env.Clock.Now()))
	return false, errors.Join(fmt.Errorf("creating replica set %s: %w", set.Name, err), failed)
}

// collide handles a taken name: the set made by an earlier try is welcome, another one is a collision of hashes.
func (r *reconciler) collide(ctx context.Context, d *appsv1.Deployment, set *appsv1.ReplicaSet) (bool, error) {
	found, err := r.env.Client.AppsV1().ReplicaSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("reading replica set %s: %w", set.Name, err)
	}
	if owner.IsControlledBy(found, d.UID) && sameTemplate(&found.Spec.Template, &d.Spec.Template) {
		r.log.Wrote(controller.KeyOf(d), r.sets, found)
		return true, nil
	}
	return false, r.writeStatus(ctx, d, Collided(d))
}

func (r *reconciler) update(ctx context.Context, d *appsv1.Deployment, u Update) error {
	updated, err := r.env.Client.AppsV1().ReplicaSets(u.Set.Namespace).Update(ctx, u.Set, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating replica set %s: %w", u.Set.Name, err)
	}
	r.log.Wrote(controller.KeyOf(d), r.sets, updated)
	if u.Message != "" {
		r.env.Events.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", u.Message)
	}
	return nil
}

func (r *reconciler) delete(ctx context.Context, d *appsv1.Deployment, set *appsv1.ReplicaSet) error {
	err := r.env.Client.AppsV1().ReplicaSets(set.Namespace).Delete(ctx, set.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(set.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting replica set %s: %w", set.Name, err)
	}
	r.log.Deleted(controller.KeyOf(d), r.sets, set)
	return nil
}
