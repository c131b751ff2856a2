// Package deployment rolls out Deployments: it moves replicas between the ReplicaSets of old and new pod templates
// within the limits of the strategy, and keeps their history.
//
//	read Deployment, its ReplicaSets -> NewPlan -> create or update or delete ReplicaSets, write status
//
// A plan is one small step; the events that it causes lead to the next one.
package deployment

import (
	"cmp"
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

func kind() schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind("Deployment") }

type reconciler struct {
	env         controller.Env
	deployments listers.DeploymentLister
	store       written.Store
	sets        cache.Indexer
	pods        cache.Indexer
	log         written.Log
	pace        written.Pace
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	deployments := env.Informers.Apps().V1().Deployments()
	sets := env.Informers.Apps().V1().ReplicaSets().Informer()
	pods := env.Informers.Core().V1().Pods().Informer()
	for _, i := range []cache.SharedIndexInformer{sets, pods} {
		if err := owner.AddIndex(i); err != nil {
			return controller.Spec{}, err
		}
	}
	r := &reconciler{
		env: env, deployments: deployments.Lister(), store: deployments.Informer().GetIndexer(),
		sets: sets.GetIndexer(), pods: pods.GetIndexer(),
	}
	return controller.Spec{
		Name: "deployment", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: deployments.Informer(), Keys: controller.Self},
			{Informer: sets, Keys: controller.Owner("Deployment", r.matching)},
			{Informer: pods, Keys: r.recreated},
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	d, err := r.deployments.Deployments(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		r.pace.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading deployment: %w", err)
	}
	snapshot, err := r.snapshot(ctx, d)
	if err != nil {
		return controller.Result{}, err
	}
	plan := NewPlan(snapshot)
	if onTheWay(d, plan.Deployment) {
		plan.Rest = r.pace.Wait(key, rest(d, plan.Deployment.Status), snapshot.Now)
	}
	return controller.Result{RequeueAfter: cmp.Or(plan.Rest, plan.After)}, r.apply(ctx, d, plan)
}

func (r *reconciler) snapshot(ctx context.Context, d *appsv1.Deployment) (Snapshot, error) {
	s := Snapshot{Deployment: d, Now: r.env.Clock.Now(), Pods: map[string][]*corev1.Pod{}}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return s, fmt.Errorf("reading the selector: %w", err)
	}
	candidates, err := owner.Candidates[*appsv1.ReplicaSet](r.sets, d)
	if err != nil {
		return s, err
	}
	if s.Sets, err = r.claimer(d).Apply(ctx, owner.Plan(d, selector, candidates)); err != nil {
		return s, err
	}
	if d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return s, nil
	}
	for _, set := range s.Sets {
		items, err := r.pods.ByIndex(owner.Index, string(set.UID))
		if err != nil {
			return s, fmt.Errorf("reading pods: %w", err)
		}
		for _, item := range items {
			if p, ok := item.(*corev1.Pod); ok && !podset.Finished(p) {
				s.Pods[string(set.UID)] = append(s.Pods[string(set.UID)], p)
			}
		}
	}
	return s, nil
}

func (r *reconciler) claimer(d *appsv1.Deployment) owner.Claimer[*appsv1.ReplicaSet] {
	return owner.Claimer[*appsv1.ReplicaSet]{
		Owner: d, Kind: kind(),
		Fresh: func(ctx context.Context) (metav1.Object, error) {
			return r.env.Client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, set *appsv1.ReplicaSet, patch []byte) (*appsv1.ReplicaSet, error) {
			return r.env.Client.AppsV1().ReplicaSets(set.Namespace).Patch(ctx, set.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		},
		Wrote: func(set *appsv1.ReplicaSet) { r.log.Wrote(controller.KeyOf(d), r.sets, set) },
	}
}

// matching answers the deployments that could adopt an orphaned set.
func (r *reconciler) matching(set metav1.Object) []controller.Key {
	if len(set.GetLabels()) == 0 {
		return nil
	}
	all, err := r.deployments.Deployments(set.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, d := range all {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(set.GetLabels())) {
			keys = append(keys, controller.KeyOf(d))
		}
	}
	return keys
}

// recreated names the Recreate deployment that waits for the end of a pod.
func (r *reconciler) recreated(before, after metav1.Object) []controller.Key {
	pod := controller.PodOf(before)
	if pod == nil || (after != nil && !podset.Finished(controller.PodOf(after))) {
		return nil
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return nil
	}
	item, exists, err := r.sets.GetByKey(pod.Namespace + "/" + ref.Name)
	set, ok := item.(*appsv1.ReplicaSet)
	if err != nil || !exists || !ok {
		return nil
	}
	ref = metav1.GetControllerOfNoCopy(set)
	if ref == nil || ref.Kind != kind().Kind {
		return nil
	}
	d, err := r.deployments.Deployments(pod.Namespace).Get(ref.Name)
	if err != nil || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []controller.Key{controller.KeyOf(d)}
}

// writeStatus writes the deployment's status and annotations if they changed; the status subresource keeps both.
func (r *reconciler) writeStatus(ctx context.Context, before, after *appsv1.Deployment) error {
	if equality.Semantic.DeepEqual(before.Status, after.Status) && equality.Semantic.DeepEqual(before.Annotations, after.Annotations) {
		return nil
	}
	result, err := r.env.Client.AppsV1().Deployments(after.Namespace).UpdateStatus(ctx, after, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(after), r.store, result)
	r.pace.Wrote(controller.KeyOf(after), r.env.Clock.Now())
	return nil
}
