package statefulset

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/revision"
)

// history is a set's revisions: those rolled out from and to, and the set in both forms.
type history struct {
	all                   []*appsv1.ControllerRevision
	current, update       *appsv1.ControllerRevision
	currentSet, updateSet *appsv1.StatefulSet
}

// history answers the set's history, in which the present template has its revision. It answers none when it had to
// count up the hash: the set's own change comes back.
func (r *reconciler) history(ctx context.Context, set *appsv1.StatefulSet, selector labels.Selector) (history, error) {
	claimer := owner.Claimer[*appsv1.ControllerRevision]{Owner: set, Kind: kind(), Fresh: r.fresh(set)}
	all, err := r.revisions.List(ctx, claimer, selector)
	if err != nil {
		return history{}, err
	}
	update, err := r.update(ctx, set, all)
	if err != nil || update == nil {
		return history{}, err
	}
	h := history{all: all, current: update, update: update}
	for _, rev := range all {
		if rev.Name == set.Status.CurrentRevision {
			h.current = rev
		}
	}
	if h.updateSet, err = restore(set, h.update); err != nil {
		return h, err
	}
	h.currentSet, err = restore(set, h.current)
	return h, err
}

// update answers the revision of the present template: an equal one, made the newest if it is not, or a new one.
func (r *reconciler) update(ctx context.Context, set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	data, err := revision.Patch(set.Spec.Template)
	if err != nil {
		return nil, err
	}
	key := controller.KeyOf(set)
	if equal := revision.WithData(all, data); len(equal) > 0 {
		last := equal[len(equal)-1]
		if last == all[len(all)-1] {
			return last, nil
		}
		return r.revisions.Renumber(ctx, key, last, revision.Next(all))
	}
	created, collision, err := r.revisions.Create(ctx, key, revision.New(revision.Spec{
		Owner: set, Kind: kind(), Labels: set.Spec.Template.Labels, Annotations: set.Annotations, Data: data,
		Number: revision.Next(all), Collisions: set.Status.CollisionCount,
	}))
	if collision {
		return nil, r.writeStatus(ctx, set, collided(set))
	}
	return created, err
}

func collided(set *appsv1.StatefulSet) appsv1.StatefulSetStatus {
	status := *set.Status.DeepCopy()
	n := int32(1)
	if status.CollisionCount != nil {
		n = *status.CollisionCount + 1
	}
	status.CollisionCount = &n
	return status
}

// forget deletes old revisions beyond the limit; those that pods still run stay.
func (r *reconciler) forget(ctx context.Context, set *appsv1.StatefulSet, h history, pods []*corev1.Pod) error {
	if set.Spec.RevisionHistoryLimit == nil || set.DeletionTimestamp != nil {
		return nil
	}
	live := map[string]bool{h.current.Name: true, h.update.Name: true}
	for _, p := range pods {
		live[p.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
	}
	var errs []error
	for _, rev := range revision.Surplus(h.all, *set.Spec.RevisionHistoryLimit, func(rev *appsv1.ControllerRevision) bool { return live[rev.Name] }) {
		errs = append(errs, r.revisions.Delete(ctx, controller.KeyOf(set), rev))
	}
	return errors.Join(errs...)
}
