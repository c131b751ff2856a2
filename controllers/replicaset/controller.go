// Package replicaset keeps the pods of ReplicaSets running; the algorithm is controllers/internal/replicas.
package replicaset

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/replicas"
)

const workers = 5

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	sets := env.Informers.Apps().V1().ReplicaSets()
	if err := owner.AddIndex(sets.Informer()); err != nil {
		return controller.Spec{}, err
	}
	k := &kind{env: env, lister: sets.Lister(), index: sets.Informer().GetIndexer()}
	r, err := replicas.NewReconciler(env, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), k, sets.Informer().GetIndexer())
	if err != nil {
		return controller.Spec{}, err
	}
	return controller.Spec{
		Name: "replicaset", Reconcile: r.Reconcile, Workers: workers,
		Watches: []controller.Watch{
			{Informer: sets.Informer(), Keys: controller.Self},
			{Informer: env.Informers.Core().V1().Pods().Informer(), Keys: controller.Owner("ReplicaSet", k.matching)},
		},
	}, nil
}

type kind struct {
	env    controller.Env
	lister listers.ReplicaSetLister
	index  cache.Indexer
}

// Get implements replicas.Kind.
func (k *kind) Get(key controller.Key) (*appsv1.ReplicaSet, runtime.Object, error) {
	set, err := k.lister.ReplicaSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading replica set: %w", err)
	}
	return set, set, nil
}

// Fresh implements replicas.Kind.
func (k *kind) Fresh(ctx context.Context, key controller.Key) (metav1.Object, error) {
	return k.env.Client.AppsV1().ReplicaSets(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

// Siblings implements replicas.Kind: the sets of the same Deployment.
func (k *kind) Siblings(set *appsv1.ReplicaSet) ([]types.UID, error) {
	ref := metav1.GetControllerOfNoCopy(set)
	if ref == nil {
		return []types.UID{set.UID}, nil
	}
	items, err := k.index.ByIndex(owner.Index, string(ref.UID))
	if err != nil {
		return nil, fmt.Errorf("reading sibling sets: %w", err)
	}
	var uids []types.UID
	for _, item := range items {
		if s, ok := item.(*appsv1.ReplicaSet); ok {
			uids = append(uids, s.UID)
		}
	}
	return uids, nil
}

// UpdateStatus implements replicas.Kind.
func (k *kind) UpdateStatus(ctx context.Context, set *appsv1.ReplicaSet) (metav1.Object, error) {
	return k.env.Client.AppsV1().ReplicaSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{})
}

// matching answers the sets that could adopt an orphaned pod.
func (k *kind) matching(pod metav1.Object) []controller.Key {
	if len(pod.GetLabels()) == 0 {
		return nil
	}
	sets, err := k.lister.ReplicaSets(pod.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, s := range sets {
		selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.GetLabels())) {
			keys = append(keys, controller.KeyOf(s))
		}
	}
	return keys
}
