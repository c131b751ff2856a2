// Package nodelifecycle watches over nodes: a node that stops renewing its lease becomes Unknown, its conditions become
// taints, and the pods of a node that is not ready stop being ready. Driving pods away is tainteviction's.
//
//	lease or status moves ──> alive ──(grace passes)──> Ready=Unknown ──> unreachable taints, pods not ready
package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	topology "k8s.io/component-helpers/node/topology"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

// The grace periods of v1.37: a running node may be silent for 50 s, a starting one for 60 s.
const (
	RunningGrace  = 50 * time.Second
	StartingGrace = 60 * time.Second
)

type reconciler struct {
	env    controller.Env
	grace  Grace
	nodes  listers.NodeLister
	leases coordinationlisters.LeaseNamespaceLister
	pods   cache.Indexer
	store  written.Store
	log    written.Log

	mu     sync.Mutex
	health map[string]Health
	// unready are the nodes whose fate depends on the others'.
	unready map[string]bool
	pace    pace
}

// New declares the controller.
func New(env controller.Env, grace Grace) (controller.Spec, error) {
	nodes, leases := env.Informers.Core().V1().Nodes(), env.Informers.Coordination().V1().Leases()
	pods := env.Informers.Core().V1().Pods().Informer()
	if err := podset.AddNodeIndex(pods); err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{
		env: env, grace: grace, nodes: nodes.Lister(), store: nodes.Informer().GetIndexer(),
		leases: leases.Lister().Leases(corev1.NamespaceNodeLease), pods: pods.GetIndexer(),
		health: map[string]Health{}, unready: map[string]bool{}, pace: pace{},
	}
	return controller.Spec{
		Name: "nodelifecycle", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: nodes.Informer(), Keys: r.ofNode},
			{Informer: leases.Informer(), Keys: ofLease},
		},
	}, nil
}

// ofNode also tells of nodes that go, and asks for all that aren't ready when there is one more, or one less, that is.
func (r *reconciler) ofNode(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Node)
	node, _ := after.(*corev1.Node)
	if after == nil && old != nil {
		r.env.Events.Eventf(old, corev1.EventTypeNormal, "RemovingNode", "Node %s event: Removing Node %s from Controller", old.Name, old.Name)
	}
	keys := controller.Self(before, after)
	if isReady(old) == isReady(node) {
		return keys
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.unready {
		keys = append(keys, controller.Key{Name: name})
	}
	return keys
}

func isReady(node *corev1.Node) bool {
	if node == nil {
		return false
	}
	c := ready(node.Status.Conditions)
	return c != nil && c.Status == corev1.ConditionTrue
}

func ofLease(_, after metav1.Object) []controller.Key {
	if after == nil || after.GetNamespace() != corev1.NamespaceNodeLease {
		return nil
	}
	return []controller.Key{{Name: after.GetName()}}
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	node, err := r.nodes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading node: %w", err)
	}
	snapshot, known, err := r.snapshot(node)
	if err != nil {
		return controller.Result{}, err
	}
	if !known {
		r.env.Events.Eventf(node, corev1.EventTypeNormal, "RegisteredNode", "Node %s event: Registered Node %s in Controller", node.Name, node.Name)
		r.remember(node.Name, Health{})
	}
	plan, err := r.plan(snapshot)
	if err != nil {
		return controller.Result{}, err
	}
	if err := r.apply(ctx, node, plan); err != nil {
		if plan.Drives {
			r.spare(node)
		}
		return controller.Result{}, err
	}
	r.remember(node.Name, plan.Health)
	return controller.Result{RequeueAfter: plan.After}, nil
}

// plan looks at the other nodes only for one that is not ready, and gives nodes up one after the other.
func (r *reconciler) plan(s Snapshot) (Plan, error) {
	plan := NewPlan(s)
	if plan.Ready {
		return plan, nil
	}
	all, err := r.nodes.List(labels.Everything())
	if err != nil {
		return plan, fmt.Errorf("listing nodes: %w", err)
	}
	zones, key := Zones(all), topology.GetZoneKey(s.Node)
	s.Down, s.Held = Down(zones), plan.Conditions != nil // those are written first
	var again time.Duration
	if plan = NewPlan(s); plan.Drives {
		r.mu.Lock()
		wait, ok := r.pace.take(key, zones[key], s.Now)
		r.mu.Unlock()
		if !ok {
			s.Held, again = true, wait
			plan = NewPlan(s)
		}
	}
	if again > 0 {
		plan.After = again
	}
	return plan, nil
}

// spare lets another node of the zone be given up instead of one that could not be.
func (r *reconciler) spare(node *corev1.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pace, topology.GetZoneKey(node))
}

func (r *reconciler) remember(node string, h Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health[node] = h
	if delete(r.unready, node); h.Ready != corev1.ConditionTrue {
		r.unready[node] = true
	}
}

func (r *reconciler) forget(key controller.Key) {
	r.log.Forget(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.health, key.Name)
	delete(r.unready, key.Name)
}

func (r *reconciler) snapshot(node *corev1.Node) (Snapshot, bool, error) {
	s := Snapshot{Node: node, Grace: r.grace, Now: r.env.Clock.Now()}
	lease, err := r.leases.Get(node.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return s, false, fmt.Errorf("reading lease: %w", err)
	}
	if err == nil && lease.Spec.RenewTime != nil {
		s.Renewed = *lease.Spec.RenewTime
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var known bool
	s.Health, known = r.health[node.Name]
	return s, known, nil
}

func (r *reconciler) apply(ctx context.Context, node *corev1.Node, plan Plan) error {
	if plan.Conditions != nil {
		if err := r.patch(ctx, node, map[string]any{"status": map[string]any{"conditions": plan.Conditions}}, "status"); err != nil {
			return err
		}
	}
	if plan.Taints != nil {
		if err := r.writeTaints(ctx, node, plan.Taints); err != nil {
			return err
		}
	}
	if wanted := DeprecatedLabels(node); len(wanted) > 0 {
		if err := r.patch(ctx, node, map[string]any{"metadata": map[string]any{"labels": wanted}}); err != nil {
			return err
		}
	}
	if plan.NotReady {
		if err := r.markPods(ctx, node); err != nil {
			return err
		}
	}
	if plan.Transition {
		r.env.Events.Eventf(node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: %s", node.Name, "NodeNotReady")
	}
	return nil
}

// writeTaints replaces the whole list; the version in the patch makes it fail if somebody else changed it meanwhile.
func (r *reconciler) writeTaints(ctx context.Context, node *corev1.Node, taints []corev1.Taint) error {
	if !r.log.Seen(controller.KeyOf(node)) {
		return nil // the conditions were just written: their event comes back for the taints
	}
	return r.patch(ctx, node, map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": taints},
	})
}

func (r *reconciler) patch(ctx context.Context, node *corev1.Node, patch map[string]any, subresource ...string) error {
	raw, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	result, err := r.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, raw, metav1.PatchOptions{}, subresource...)
	if err != nil {
		return fmt.Errorf("patching node: %w", err)
	}
	r.log.Wrote(controller.KeyOf(node), r.store, result)
	return nil
}

// markPods makes the node's ready pods not ready, so that they leave the endpoints of their services.
func (r *reconciler) markPods(ctx context.Context, node *corev1.Node) error {
	pods, err := podset.OnNode(r.pods, node.Name)
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		if !podset.Ready(pod) || podset.Finished(pod) {
			continue
		}
		patch := map[string]any{
			"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion}, // once, however old the cache is
			"status": map[string]any{"conditions": []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(r.env.Clock.Now()),
				Reason: podset.Condition(pod, corev1.PodReady).Reason, Message: podset.Condition(pod, corev1.PodReady).Message,
			}}},
		}
		raw, err := json.Marshal(patch)
		if err != nil {
			return fmt.Errorf("encoding patch: %w", err)
		}
		_, err = r.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, raw, metav1.PatchOptions{}, "status")
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("marking pod %s/%s: %w", pod.Namespace, pod.Name, err))
			continue
		}
		r.env.Events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return errors.Join(errs...)
}
