// Package daemonset runs one pod of a DaemonSet on every node that fits, and rolls out changes of its template.
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	"k8s.io/client-go/util/flowcontrol"

	"skiff/controllers/internal/batch"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/revision"
	"skiff/controllers/internal/written"
)

func kind() schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind("DaemonSet") }

// How long a node's failed pod stays, doubled each time that it fails again.
const (
	firstBackoff = time.Second
	lastBackoff  = 15 * time.Minute
)

type reconciler struct {
	env       controller.Env
	sets      listers.DaemonSetLister
	store     written.Store
	pods      cache.Indexer
	nodes     corelisters.NodeLister
	revisions revision.Store
	log       written.Log
	failures  *flowcontrol.Backoff // by set, generation and node
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	apps, core := env.Informers.Apps().V1(), env.Informers.Core().V1()
	sets, pods, revisions := apps.DaemonSets(), core.Pods().Informer(), apps.ControllerRevisions().Informer()
	for _, i := range []cache.SharedIndexInformer{pods, revisions} {
		if err := owner.AddIndex(i); err != nil {
			return controller.Spec{}, err
		}
	}
	r := &reconciler{
		env: env, sets: sets.Lister(), store: sets.Informer().GetIndexer(), pods: pods.GetIndexer(), nodes: core.Nodes().Lister(),
		failures: flowcontrol.NewBackOff(firstBackoff, lastBackoff),
	}
	r.failures.Clock = env.Clock
	r.revisions = revision.Store{Client: env.Client, Index: revisions.GetIndexer(), Log: &r.log}
	return controller.Spec{
		Name: "daemonset", Reconcile: r.reconcile, Workers: 2,
		Watches: []controller.Watch{
			{Informer: sets.Informer(), Keys: controller.Self},
			{Informer: pods, Keys: controller.Owner("DaemonSet", r.matching)},
			{Informer: revisions, Keys: controller.Owner("DaemonSet", r.matching)},
			{Informer: core.Nodes().Informer(), Keys: r.ofNode},
		},
	}, nil
}

// matching answers the sets that could adopt an orphan.
func (r *reconciler) matching(o metav1.Object) []controller.Key {
	if len(o.GetLabels()) == 0 {
		return nil
	}
	return r.where(o.GetNamespace(), func(s *appsv1.DaemonSet) bool {
		selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
		return err == nil && !selector.Empty() && selector.Matches(labels.Set(o.GetLabels()))
	})
}

// ofNode answers the sets for which a node has come, gone, or begun or ceased to fit.
func (r *reconciler) ofNode(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Node)
	node, _ := after.(*corev1.Node)
	if old != nil && node != nil && equality.Semantic.DeepEqual(old.Labels, node.Labels) && equality.Semantic.DeepEqual(old.Spec.Taints, node.Spec.Taints) {
		return nil
	}
	return r.where(metav1.NamespaceAll, func(s *appsv1.DaemonSet) bool {
		if old == nil || node == nil {
			return true
		}
		run, stay := Fit(s, old)
		runNow, stayNow := Fit(s, node)
		return run != runNow || stay != stayNow
	})
}

func (r *reconciler) where(namespace string, concerned func(*appsv1.DaemonSet) bool) []controller.Key {
	sets, err := r.sets.DaemonSets(namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, s := range sets {
		if concerned(s) {
			keys = append(keys, controller.KeyOf(s))
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	set, err := r.sets.DaemonSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading daemon set: %w", err)
	}
	if set.Spec.Selector == nil || equality.Semantic.DeepEqual(set.Spec.Selector, &metav1.LabelSelector{}) {
		r.env.Events.Event(set, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return controller.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading the selector: %w", err)
	}
	history, current, err := r.history(ctx, set, selector)
	if err != nil || current == nil {
		return controller.Result{}, err
	}
	snapshot, err := r.snapshot(ctx, set, selector, current)
	if err != nil {
		return controller.Result{}, err
	}
	plan, err := NewPlan(snapshot)
	if err != nil {
		return controller.Result{}, err
	}
	failure := r.apply(ctx, set, snapshot.Hash, plan)
	for _, node := range plan.Failed {
		r.failures.Next(failureKey(set, node), snapshot.Now)
	}
	r.failures.GC()
	again := podset.NextAvailable(snapshot.Pods, set.Spec.MinReadySeconds, snapshot.Now)
	if again == 0 || plan.After > 0 && plan.After < again {
		again = plan.After
	}
	return controller.Result{RequeueAfter: again}, errors.Join(failure, r.writeStatus(ctx, set, plan.Status), r.forget(ctx, set, history, snapshot))
}

func (r *reconciler) snapshot(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector, current *appsv1.ControllerRevision) (Snapshot, error) {
	s := Snapshot{Set: set, Hash: current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], Now: r.env.Clock.Now()}
	candidates, err := owner.Candidates[*corev1.Pod](r.pods, set)
	if err != nil {
		return s, err
	}
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: set, Kind: kind(), Fresh: r.fresh(set), Patch: podset.Patcher(r.env.Client),
		Wrote: func(p *corev1.Pod) { r.log.Wrote(controller.KeyOf(set), r.pods, p) },
	}
	if s.Pods, err = claimer.Apply(ctx, owner.Plan(set, selector, candidates)); err != nil {
		return s, err
	}
	if s.Nodes, err = r.nodes.List(labels.Everything()); err != nil {
		return s, fmt.Errorf("listing nodes: %w", err)
	}
	s.Held = map[string]time.Duration{}
	for _, pod := range s.Pods {
		if key := failureKey(set, target(pod)); pod.Status.Phase == corev1.PodFailed && r.failures.IsInBackOffSinceUpdate(key, s.Now) {
			s.Held[target(pod)] = r.failures.Get(key)
		}
	}
	return s, nil
}

func failureKey(set *appsv1.DaemonSet, node string) string {
	return fmt.Sprintf("%s/%d/%s", set.UID, set.Status.ObservedGeneration, node)
}

func (r *reconciler) fresh(set *appsv1.DaemonSet) func(context.Context) (metav1.Object, error) {
	return func(ctx context.Context) (metav1.Object, error) {
		return r.env.Client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	}
}

func (r *reconciler) apply(ctx context.Context, set *appsv1.DaemonSet, hash string, plan Plan) error {
	for _, n := range plan.Notes {
		r.env.Events.Event(set, n.Type, n.Reason, n.Message)
	}
	control := podset.Control{Client: r.env.Client, Events: r.env.Events, Log: &r.log, Store: r.pods, Key: controller.KeyOf(set), Object: set}
	_, created := batch.SlowStart(ctx, len(plan.Create), func(ctx context.Context, i int) error {
		return control.Create(ctx, newPod(set, plan.Create[i], hash))
	})
	_, deleted := batch.All(ctx, len(plan.Delete), func(ctx context.Context, i int) error {
		return control.Delete(ctx, plan.Delete[i])
	})
	return errors.Join(podset.IgnoreTerminating(created), deleted)
}

func (r *reconciler) writeStatus(ctx context.Context, set *appsv1.DaemonSet, status appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = status
	result, err := r.env.Client.AppsV1().DaemonSets(set.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(set), r.store, result)
	return nil
}
