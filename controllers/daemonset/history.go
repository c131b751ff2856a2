package daemonset

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/revision"
)

// history answers the set's revisions and the one of its present template, which it makes if there is none. It answers
// none when it had to count up the hash: the set's own change comes back.
func (r *reconciler) history(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector) (all []*appsv1.ControllerRevision, current *appsv1.ControllerRevision, err error) {
	claimer := owner.Claimer[*appsv1.ControllerRevision]{Owner: set, Kind: kind(), Fresh: r.fresh(set)}
	all, err = r.revisions.List(ctx, claimer, selector)
	if err != nil {
		return nil, nil, err
	}
	data, err := revision.Patch(set.Spec.Template)
	if err != nil {
		return nil, nil, err
	}
	key := controller.KeyOf(set)
	if equal := revision.WithData(all, data); len(equal) > 0 {
		current = equal[len(equal)-1]
		if current != all[len(all)-1] {
			current, err = r.revisions.Renumber(ctx, key, current, revision.Next(all))
		}
		return all, current, err
	}
	if set.DeletionTimestamp != nil {
		return all, &appsv1.ControllerRevision{}, nil
	}
	current, collision, err := r.revisions.Create(ctx, key, newRevision(set, data, revision.Next(all)))
	if collision {
		return nil, nil, r.writeStatus(ctx, set, collided(set))
	}
	return all, current, err
}

func newRevision(set *appsv1.DaemonSet, data []byte, number int64) *appsv1.ControllerRevision {
	hash := revision.TemplateHash(&set.Spec.Template, set.Status.CollisionCount)
	made := map[string]string{appsv1.DefaultDaemonSetUniqueLabelKey: hash}
	for k, v := range set.Spec.Template.Labels {
		made[k] = v
	}
	made[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	rev := revision.New(revision.Spec{
		Owner: set, Kind: kind(), Labels: made, Annotations: set.Annotations, Data: data, Number: number, Hash: hash,
	})
	delete(rev.Labels, revision.HashLabel)
	return rev
}

func collided(set *appsv1.DaemonSet) appsv1.DaemonSetStatus {
	status := *set.Status.DeepCopy()
	n := int32(1)
	if status.CollisionCount != nil {
		n = *status.CollisionCount + 1
	}
	status.CollisionCount = &n
	return status
}

// forget deletes old revisions beyond the limit; those that pods still run stay.
func (r *reconciler) forget(ctx context.Context, set *appsv1.DaemonSet, all []*appsv1.ControllerRevision, s Snapshot) error {
	if set.Spec.RevisionHistoryLimit == nil || set.DeletionTimestamp != nil {
		return nil
	}
	live := map[string]bool{s.Hash: true}
	for _, p := range s.Pods {
		live[p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] = true
	}
	var errs []error
	for _, rev := range revision.Surplus(all, *set.Spec.RevisionHistoryLimit, func(rev *appsv1.ControllerRevision) bool {
		return live[rev.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]]
	}) {
		errs = append(errs, r.revisions.Delete(ctx, controller.KeyOf(set), rev))
	}
	return errors.Join(errs...)
}
