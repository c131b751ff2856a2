package replicas

import (
	"cmp"
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/batch"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

// Kind is what distinguishes the two kinds of sets. Sets and statuses are shown as a ReplicaSet's.
type Kind interface {
	// Get answers the cached set, and the object itself for events.
	Get(key controller.Key) (*appsv1.ReplicaSet, runtime.Object, error)
	// Fresh reads the set's metadata from the server.
	Fresh(ctx context.Context, key controller.Key) (metav1.Object, error)
	// Siblings answers all sets of the same owner, the set itself included.
	Siblings(set *appsv1.ReplicaSet) ([]types.UID, error)
	// UpdateStatus writes the set's status and answers the result.
	UpdateStatus(ctx context.Context, set *appsv1.ReplicaSet) (metav1.Object, error)
}

// Reconciler reconciles sets of one kind.
type Reconciler struct {
	env  controller.Env
	kind Kind
	gvk  schema.GroupVersionKind
	sets written.Store
	pods cache.Indexer
	log  written.Log

	statuses, plans written.Pace
}

// NewReconciler answers a reconciler for sets of gvk, cached in sets.
func NewReconciler(env controller.Env, gvk schema.GroupVersionKind, kind Kind, sets written.Store) (*Reconciler, error) {
	pods := env.Informers.Core().V1().Pods().Informer()
	if err := owner.AddIndex(pods); err != nil {
		return nil, err
	}
	return &Reconciler{env: env, kind: kind, gvk: gvk, sets: sets, pods: pods.GetIndexer()}, nil
}

// Reconcile brings one set nearer to its number of replicas and writes its status.
func (r *Reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	set, object, err := r.kind.Get(key)
	if err != nil || set == nil {
		r.log.Forget(key)
		r.statuses.Forget(key)
		r.plans.Forget(key)
		return controller.Result{}, err
	}
	now := r.env.Clock.Now()
	if wait := r.plans.Wait(key, written.Gather(max(*set.Spec.Replicas, set.Status.Replicas)), now); wait > 0 {
		return controller.Result{RequeueAfter: wait}, nil
	}
	r.plans.Wrote(key, now)
	snapshot, err := r.snapshot(ctx, set)
	if err != nil {
		return controller.Result{}, err
	}
	plan := NewPlan(snapshot)
	failure := r.apply(ctx, object, snapshot, plan)
	status := Status(snapshot, plan, failure)
	again := podset.NextAvailable(podset.Select(snapshot.Pods, podset.Active), set.Spec.MinReadySeconds, snapshot.Now)
	if failure == nil && !r.log.Seen(key) && len(status.Conditions) == len(set.Status.Conditions) {
		return controller.Result{RequeueAfter: written.Repair}, nil // the status of what was just done comes with its events
	}
	if onTheWay(set, status) {
		if wait := r.statuses.Wait(key, rest(set, status), snapshot.Now); wait > 0 {
			return controller.Result{RequeueAfter: wait}, failure
		}
	}
	return controller.Result{RequeueAfter: again}, cmp.Or(r.writeStatus(ctx, set, status), failure)
}

func (r *Reconciler) snapshot(ctx context.Context, set *appsv1.ReplicaSet) (Snapshot, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return Snapshot{}, fmt.Errorf("reading the selector: %w", err)
	}
	pods, err := r.claim(ctx, set, selector)
	if err != nil {
		return Snapshot{}, err
	}
	siblings, err := r.kind.Siblings(set)
	if err != nil {
		return Snapshot{}, err
	}
	var related []*corev1.Pod
	for _, uid := range siblings {
		items, err := r.pods.ByIndex(owner.Index, string(uid))
		if err != nil {
			return Snapshot{}, fmt.Errorf("reading related pods: %w", err)
		}
		for _, item := range items {
			if p, ok := item.(*corev1.Pod); ok {
				related = append(related, p)
			}
		}
	}
	return Snapshot{Set: set, Pods: pods, Related: related, Terminating: r.gvk.Group == appsv1.GroupName, Now: r.env.Clock.Now()}, nil
}

func (r *Reconciler) claim(ctx context.Context, set *appsv1.ReplicaSet, selector labels.Selector) ([]*corev1.Pod, error) {
	candidates, err := owner.Candidates[*corev1.Pod](r.pods, set)
	if err != nil {
		return nil, err
	}
	key := controller.KeyOf(set)
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: set, Kind: r.gvk,
		Fresh: func(ctx context.Context) (metav1.Object, error) { return r.kind.Fresh(ctx, key) },
		Patch: podset.Patcher(r.env.Client),
		Wrote: func(p *corev1.Pod) { r.log.Wrote(key, r.pods, p) },
	}
	return claimer.Apply(ctx, claims(set, selector, candidates))
}

// claims adopts only active pods: a finished pod of nobody is no use to the set.
func claims(set *appsv1.ReplicaSet, selector labels.Selector, candidates []*corev1.Pod) owner.Claims[*corev1.Pod] {
	c := owner.Plan(set, selector, candidates)
	c.Adopt = podset.Select(c.Adopt, podset.Active)
	return c
}

func (r *Reconciler) apply(ctx context.Context, object runtime.Object, s Snapshot, plan Plan) error {
	control := podset.Control{
		Client: r.env.Client, Events: r.env.Events, Log: &r.log, Store: r.pods,
		Key: controller.KeyOf(s.Set), Object: object,
	}
	ref := owner.NewRef(s.Set, r.gvk)
	if _, err := batch.SlowStart(ctx, plan.Create, func(ctx context.Context, _ int) error {
		return control.Create(ctx, podset.FromTemplate(&s.Set.Spec.Template, s.Set, ref))
	}); err != nil {
		return podset.IgnoreTerminating(err)
	}
	_, err := batch.All(ctx, len(plan.Delete), func(ctx context.Context, i int) error {
		return control.Delete(ctx, plan.Delete[i])
	})
	return err
}

func (r *Reconciler) writeStatus(ctx context.Context, set *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if SameStatus(set.Status, status) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = status
	result, err := r.kind.UpdateStatus(ctx, changed)
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(set), r.sets, result)
	r.statuses.Wrote(controller.KeyOf(set), r.env.Clock.Now())
	return nil
}
