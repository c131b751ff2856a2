// Package storageversionmigrator writes all objects of a resource again, so that each is stored as the server stores
// it today: in the storage version of its definition, or encrypted with the first key (KEP-4192).
//
// A StorageVersionMigration names the resource. Its migrations run one at a time, the oldest first; all that a
// migration has done is in its status and in the versions of the objects, so one that is interrupted goes on.
package storageversionmigrator

import (
	"context"
	"fmt"
	"time"

	definitions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	listers "k8s.io/client-go/listers/storagemigration/v1"
	"k8s.io/client-go/metadata"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/written"
)

const (
	// patience is how long after a migration's creation its resource may be one that is about to be served.
	patience = time.Minute
	again    = time.Second
)

type reconciler struct {
	env         controller.Env
	objects     metadata.Interface
	definitions definitions.CustomResourceDefinitionInterface
	migrations  listers.StorageVersionMigrationLister
	store       written.Store
	log         written.Log
}

// New declares the controller; its keys are resources, with their group as the namespace, so that no two migrations of
// one resource are looked at at once.
func New(env controller.Env) (controller.Spec, error) {
	objects, err := metadata.NewForConfig(controller.Unlimited(env.Config))
	if err != nil {
		return controller.Spec{}, fmt.Errorf("building metadata client: %w", err)
	}
	extensions, err := definitions.NewForConfig(controller.Unlimited(env.Config))
	if err != nil {
		return controller.Spec{}, fmt.Errorf("building client of definitions: %w", err)
	}
	migrations := env.Informers.Storagemigration().V1().StorageVersionMigrations()
	r := &reconciler{
		env: env, objects: objects, definitions: extensions.CustomResourceDefinitions(),
		migrations: migrations.Lister(), store: migrations.Informer().GetIndexer(),
	}
	return controller.Spec{
		Name: "storageversionmigrator", Reconcile: r.reconcile,
		Watches: []controller.Watch{{Informer: migrations.Informer(), Keys: turned}},
	}, nil
}

// turned names the resource of a migration that is at another step than before. Other changes are what the controller
// tells of errors, which must not shorten the time until the next attempt.
func turned(before, after metav1.Object) []controller.Key {
	was, _ := before.(*Migration)
	is, _ := after.(*Migration)
	switch {
	case was == nil && is == nil:
		return nil
	case is == nil:
		is = was
	case was != nil && was.UID == is.UID && stageOf(was) == stageOf(is):
		return nil
	}
	return []controller.Key{{Namespace: is.Spec.Resource.Group, Name: is.Spec.Resource.Resource}}
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	all, err := r.of(key)
	if err != nil {
		return controller.Result{}, err
	}
	if len(all) == 0 {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	step, m := Next(all)
	switch step {
	case Start:
		if err := r.begin(ctx, m); err != nil {
			return controller.Result{}, err
		}
		return controller.Result{}, r.update(ctx, key, Started(m, r.env.Clock.Now()))
	case Checkpoint:
		return r.checkpoint(ctx, key, m)
	case Rewrite:
		return r.rewrite(ctx, key, m)
	case Finish:
		if err := r.end(ctx, m); err != nil {
			return controller.Result{}, err
		}
		return controller.Result{}, r.update(ctx, key, Finished(m, r.env.Clock.Now()))
	case Rest:
	}
	return controller.Result{}, nil
}

// of answers the migrations of the resource.
func (r *reconciler) of(key controller.Key) ([]*Migration, error) {
	all, err := r.migrations.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	var mine []*Migration
	for _, m := range all {
		if m.Spec.Resource.Group == key.Namespace && m.Spec.Resource.Resource == key.Name {
			mine = append(mine, m)
		}
	}
	return mine, nil
}

// checkpoint notes the version that the resource is at: what is written from now on is written as it should be.
func (r *reconciler) checkpoint(ctx context.Context, key controller.Key, m *Migration) (controller.Result, error) {
	kind, ok, err := discover(r.env.Client.Discovery(), m.Spec.Resource)
	if err != nil {
		return controller.Result{}, err
	}
	if !ok {
		return r.missing(ctx, key, m, Refused(m, "resource does not exist in discovery", r.env.Clock.Now()))
	}
	if err := kind.Migratable(); err != nil {
		return controller.Result{}, r.update(ctx, key, Refused(m, err.Error(), r.env.Clock.Now()))
	}
	list, err := r.objects.Resource(kind.GVR).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return controller.Result{}, fmt.Errorf("error getting latest resourceVersion for %s: %w", kind.GVR.String(), err)
	}
	version := list.ResourceVersion
	if _, err := resourceversion.CompareResourceVersion(version, version); err != nil {
		err = fmt.Errorf("latest resourceVersion for %s is not valid: %w", kind.GVR.String(), err)
		return controller.Result{}, r.update(ctx, key, Refused(m, err.Error(), r.env.Clock.Now()))
	}
	return controller.Result{}, r.update(ctx, key, Checkpointed(m, version))
}

// missing looks again for a resource that may be served soon, and gives up on others.
func (r *reconciler) missing(ctx context.Context, key controller.Key, m, failed *Migration) (controller.Result, error) {
	if r.env.Clock.Since(m.CreationTimestamp.Time) < patience {
		return controller.Result{RequeueAfter: again}, nil
	}
	return controller.Result{}, r.update(ctx, key, failed)
}

// update writes the status; a migration that is gone needs none.
func (r *reconciler) update(ctx context.Context, key controller.Key, m *Migration) error {
	updated, err := r.env.Client.StoragemigrationV1().StorageVersionMigrations().UpdateStatus(ctx, m, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("updating status of migration %s: %w", m.Name, err)
	}
	r.log.Wrote(key, r.store, updated)
	return nil
}
