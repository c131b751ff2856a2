// Package replicationcontroller keeps the pods of ReplicationControllers running; the algorithm is
// controllers/internal/replicas, to which a ReplicationController is shown as the equivalent ReplicaSet.
package replicationcontroller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/replicas"
)

const workers = 2

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	sets := env.Informers.Core().V1().ReplicationControllers()
	k := &kind{env: env, lister: sets.Lister()}
	r, err := replicas.NewReconciler(env, corev1.SchemeGroupVersion.WithKind("ReplicationController"), k, sets.Informer().GetIndexer())
	if err != nil {
		return controller.Spec{}, err
	}
	return controller.Spec{
		Name: "replicationcontroller", Reconcile: r.Reconcile, Workers: workers,
		Watches: []controller.Watch{
			{Informer: sets.Informer(), Keys: controller.Self},
			{Informer: env.Informers.Core().V1().Pods().Informer(), Keys: controller.Owner("ReplicationController", k.matching)},
		},
	}, nil
}

type kind struct {
	env    controller.Env
	lister listers.ReplicationControllerLister
}

// Get implements replicas.Kind.
func (k *kind) Get(key controller.Key) (*appsv1.ReplicaSet, runtime.Object, error) {
	rc, err := k.lister.ReplicationControllers(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading replication controller: %w", err)
	}
	return toSet(rc), rc, nil
}

// Fresh implements replicas.Kind.
func (k *kind) Fresh(ctx context.Context, key controller.Key) (metav1.Object, error) {
	return k.env.Client.CoreV1().ReplicationControllers(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

// Siblings implements replicas.Kind: a replication controller has none.
func (k *kind) Siblings(set *appsv1.ReplicaSet) ([]types.UID, error) {
	return []types.UID{set.UID}, nil
}

// UpdateStatus implements replicas.Kind.
func (k *kind) UpdateStatus(ctx context.Context, set *appsv1.ReplicaSet) (metav1.Object, error) {
	rc, err := k.lister.ReplicationControllers(set.Namespace).Get(set.Name)
	if err != nil {
		return nil, fmt.Errorf("reading replication controller: %w", err)
	}
	changed := rc.DeepCopy()
	changed.ResourceVersion = set.ResourceVersion
	changed.Status = fromStatus(set.Status)
	return k.env.Client.CoreV1().ReplicationControllers(set.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
}

func (k *kind) matching(pod metav1.Object) []controller.Key {
	if len(pod.GetLabels()) == 0 {
		return nil
	}
	rcs, err := k.lister.ReplicationControllers(pod.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, rc := range rcs {
		if len(rc.Spec.Selector) > 0 && labels.SelectorFromSet(rc.Spec.Selector).Matches(labels.Set(pod.GetLabels())) {
			keys = append(keys, controller.KeyOf(rc))
		}
	}
	return keys
}
