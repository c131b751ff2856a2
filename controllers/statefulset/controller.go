// Package statefulset runs the numbered pods of StatefulSets, each with its own name and volumes, in order.
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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	listers "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/revision"
	"skiff/controllers/internal/written"
)

func kind() schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind("StatefulSet") }

type reconciler struct {
	env       controller.Env
	sets      listers.StatefulSetLister
	store     written.Store
	pods      cache.Indexer
	claims    corelisters.PersistentVolumeClaimLister
	claimed   written.Store
	revisions revision.Store
	log       written.Log
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	apps, core := env.Informers.Apps().V1(), env.Informers.Core().V1()
	sets, pods, revisions := apps.StatefulSets(), core.Pods().Informer(), apps.ControllerRevisions().Informer()
	for _, i := range []cache.SharedIndexInformer{pods, revisions} {
		if err := owner.AddIndex(i); err != nil {
			return controller.Spec{}, err
		}
	}
	claims := core.PersistentVolumeClaims()
	r := &reconciler{
		env: env, sets: sets.Lister(), store: sets.Informer().GetIndexer(), pods: pods.GetIndexer(),
		claims: claims.Lister(), claimed: claims.Informer().GetIndexer(),
	}
	r.revisions = revision.Store{Client: env.Client, Index: revisions.GetIndexer(), Log: &r.log}
	return controller.Spec{
		Name: "statefulset", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: sets.Informer(), Keys: controller.Self},
			{Informer: pods, Keys: controller.Owner("StatefulSet", r.matching)},
			{Informer: revisions, Keys: controller.Owner("StatefulSet", r.matching)},
		},
	}, nil
}

// matching answers the sets that could adopt an orphan.
func (r *reconciler) matching(o metav1.Object) []controller.Key {
	if len(o.GetLabels()) == 0 {
		return nil
	}
	sets, err := r.sets.StatefulSets(o.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, s := range sets {
		selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(o.GetLabels())) {
			keys = append(keys, controller.KeyOf(s))
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	set, err := r.sets.StatefulSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading stateful set: %w", err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading the selector: %w", err)
	}
	h, err := r.history(ctx, set, selector)
	if err != nil || h.update == nil {
		return controller.Result{}, err
	}
	pods, err := r.claim(ctx, set, selector)
	if err != nil {
		return controller.Result{}, err
	}
	snapshot := Snapshot{
		Set: set, Pods: pods, Current: h.current.Name, Update: h.update.Name,
		Collisions: set.Status.CollisionCount, Now: r.env.Clock.Now(), Claims: map[string]*corev1.PersistentVolumeClaim{},
	}
	for _, pod := range pods {
		for _, c := range claims(set, ordinal(set, pod)) {
			if found, err := r.claims.PersistentVolumeClaims(set.Namespace).Get(c.Name); err == nil {
				snapshot.Claims[c.Name] = found
			}
		}
	}
	plan := NewPlan(snapshot)
	failure := r.apply(ctx, set, h, plan)
	again := podset.NextAvailable(pods, set.Spec.MinReadySeconds, snapshot.Now)
	return controller.Result{RequeueAfter: again}, errors.Join(failure, r.writeStatus(ctx, set, plan.Status), r.forget(ctx, set, h, pods))
}

// claim adopts and releases; a pod whose name is none of the set's is not taken.
func (r *reconciler) claim(ctx context.Context, set *appsv1.StatefulSet, selector labels.Selector) ([]*corev1.Pod, error) {
	candidates, err := owner.Candidates[*corev1.Pod](r.pods, set)
	if err != nil {
		return nil, err
	}
	named := podset.Select(candidates, func(p *corev1.Pod) bool { return ordinal(set, p) != none })
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: set, Kind: kind(), Fresh: r.fresh(set), Patch: podset.Patcher(r.env.Client),
		Wrote: func(p *corev1.Pod) { r.log.Wrote(controller.KeyOf(set), r.pods, p) },
	}
	return claimer.Apply(ctx, owner.Plan(set, selector, named))
}

func (r *reconciler) fresh(set *appsv1.StatefulSet) func(context.Context) (metav1.Object, error) {
	return func(ctx context.Context) (metav1.Object, error) {
		return r.env.Client.AppsV1().StatefulSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	}
}

func (r *reconciler) writeStatus(ctx context.Context, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = status
	result, err := r.env.Client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(set), r.store, result)
	return nil
}
