package revision

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

// Store reads and writes the revisions of workloads of one kind.
type Store struct {
	Client kubernetes.Interface
	Index  cache.Indexer
	Log    *written.Log
}

// List answers the revisions of the owner, sorted, having adopted those that match.
func (s Store) List(ctx context.Context, claimer owner.Claimer[*appsv1.ControllerRevision], selector labels.Selector) ([]*appsv1.ControllerRevision, error) {
	candidates, err := owner.Candidates[*appsv1.ControllerRevision](s.Index, claimer.Owner)
	if err != nil {
		return nil, err
	}
	key := controller.KeyOf(claimer.Owner)
	claimer.Patch = func(ctx context.Context, r *appsv1.ControllerRevision, patch []byte) (*appsv1.ControllerRevision, error) {
		return s.Client.AppsV1().ControllerRevisions(r.Namespace).Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	}
	claimer.Wrote = func(r *appsv1.ControllerRevision) { s.Log.Wrote(key, s.Index, r) }
	revisions, err := claimer.Apply(ctx, owner.Plan(claimer.Owner, selector, candidates))
	if err != nil {
		return nil, err
	}
	Sort(revisions)
	return revisions, nil
}

// Create writes a revision. Collision says that its name is taken by one with other data.
func (s Store) Create(ctx context.Context, key controller.Key, r *appsv1.ControllerRevision) (created *appsv1.ControllerRevision, collision bool, err error) {
	client := s.Client.AppsV1().ControllerRevisions(r.Namespace)
	created, err = client.Create(ctx, r, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		if created, err = client.Get(ctx, r.Name, metav1.GetOptions{}); err != nil {
			return nil, false, fmt.Errorf("reading revision %s: %w", r.Name, err)
		}
		if len(WithData([]*appsv1.ControllerRevision{created}, r.Data.Raw)) == 0 {
			return nil, true, nil
		}
	}
	if podset.NamespaceTerminating(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("creating revision %s: %w", r.Name, err)
	}
	s.Log.Wrote(key, s.Index, created)
	return created, false, nil
}

// Renumber makes an old revision the newest: a rollback.
func (s Store) Renumber(ctx context.Context, key controller.Key, r *appsv1.ControllerRevision, number int64) (*appsv1.ControllerRevision, error) {
	changed := r.DeepCopy()
	changed.Revision = number
	result, err := s.Client.AppsV1().ControllerRevisions(r.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating revision %s: %w", r.Name, err)
	}
	s.Log.Wrote(key, s.Index, result)
	return result, nil
}

// Delete removes a revision.
func (s Store) Delete(ctx context.Context, key controller.Key, r *appsv1.ControllerRevision) error {
	err := s.Client.AppsV1().ControllerRevisions(r.Namespace).Delete(ctx, r.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting revision %s: %w", r.Name, err)
	}
	s.Log.Deleted(key, s.Index, r)
	return nil
}
