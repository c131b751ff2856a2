// Package garbagecollector deletes objects whose owners are gone, and carries out foreground and orphaning deletion.
//
// It keeps a graph of who owns whom over all kinds, custom ones included. A change in the graph queues the objects
// whose fate it may have decided; before one is touched, it and its owners are read from the server again.
package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/cached"
	"skiff/controllers/internal/controller"
)

const (
	workers   = 10
	notReady  = 50 * time.Millisecond
	unknown   = 5 * time.Second
	retryable = 100 * time.Millisecond
)

type reconciler struct {
	*state
	env     controller.Env
	objects metadata.Interface
	shared  map[schema.GroupVersionResource]cache.SharedIndexInformer
}

// New declares the controller; its keys are UIDs.
func New(env controller.Env) (controller.Spec, error) {
	objects, err := metadata.NewForConfig(controller.Unlimited(env.Config))
	if err != nil {
		return controller.Spec{}, fmt.Errorf("building metadata client: %w", err)
	}
	r := &reconciler{
		state: &state{
			graph: NewGraph(), monitors: map[schema.GroupVersionResource]*monitor{}, changed: make(chan struct{}, 1),
		},
		env: env, objects: objects, shared: cached.Informers(env.Informers),
	}
	return controller.Spec{Name: "garbagecollector", Reconcile: r.reconcile, Workers: workers, Feed: r.feed, Run: r.run}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.ready(r.env.Clock.Now()) {
		return controller.Result{RequeueAfter: notReady}, nil
	}
	uid := types.UID(key.Name)
	r.mu.Lock()
	node, ok := r.graph.Get(uid)
	dependents := r.graph.Dependents(uid)
	r.mu.Unlock()
	if !ok || node.Virtual {
		return controller.Result{}, nil
	}
	var err error
	switch {
	case node.Orphaning:
		err = r.orphan(ctx, node, dependents)
	case node.Foreground:
		err = r.awaitDependents(ctx, node, dependents)
	case node.Deleting:
		return controller.Result{}, nil
	default:
		err = r.judge(ctx, node, dependents)
	}
	if errors.Is(err, errUnknownKind) { // its kind may be served later
		return controller.Result{RequeueAfter: unknown}, nil
	}
	if apierrors.IsConflict(err) {
		return controller.Result{RequeueAfter: retryable}, nil
	}
	return controller.Result{}, err
}

// judge deletes the object or takes its dead references away.
func (r *reconciler) judge(ctx context.Context, node Node, dependents []Node) error {
	latest, err := r.latest(ctx, node)
	if latest == nil || err != nil {
		return err
	}
	states := map[types.UID]OwnerState{}
	for _, ref := range latest.OwnerReferences {
		if states[ref.UID], err = r.ownerState(ctx, node, ref); err != nil {
			return err
		}
	}
	verdict := Judge(latest, states, dependents)
	if verdict.Keep {
		if len(verdict.Unref) == 0 {
			return nil
		}
		return r.patch(ctx, node, latest, "ownerReferences", Without(latest.OwnerReferences, verdict.Unref...))
	}
	if verdict.Unblock {
		if err := r.patch(ctx, node, latest, "ownerReferences", Unblocked(latest.OwnerReferences)); err != nil {
			return err
		}
	}
	return r.delete(ctx, node, latest, verdict)
}

// delete insists on the version it judged unless it has just changed the object itself.
func (r *reconciler) delete(ctx context.Context, node Node, latest *metav1.PartialObjectMetadata, v Verdict) error {
	objects, err := r.client(node)
	if err != nil {
		return err
	}
	conditions := &metav1.Preconditions{UID: &node.UID}
	if !v.Unblock {
		conditions.ResourceVersion = &latest.ResourceVersion
	}
	err = objects.Delete(ctx, node.Name, metav1.DeleteOptions{PropagationPolicy: &v.Policy, Preconditions: conditions})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s %s: %w", node.Kind, node.Name, err)
	}
	return nil
}

// awaitDependents lets an owner go when nothing blocks it any more, and sees to those that do.
func (r *reconciler) awaitDependents(ctx context.Context, node Node, dependents []Node) error {
	blocking := false
	var pending []types.UID
	for _, d := range dependents {
		blocking = blocking || node.BlockedBy(d)
		if node.BlockedBy(d) && !d.Foreground {
			pending = append(pending, d.UID)
		}
	}
	if blocking {
		r.enqueue(pending)
		return nil
	}
	return r.dropFinalizer(ctx, node, metav1.FinalizerDeleteDependents)
}

// orphan lets the dependents go, then the owner.
func (r *reconciler) orphan(ctx context.Context, node Node, dependents []Node) error {
	var errs []error
	for _, d := range dependents {
		latest, err := r.latest(ctx, d)
		if err == nil && latest != nil {
			if rest := Without(latest.OwnerReferences, node.UID); len(rest) < len(latest.OwnerReferences) {
				err = r.patch(ctx, d, latest, "ownerReferences", rest)
			}
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.dropFinalizer(ctx, node, metav1.FinalizerOrphanDependents)
}

func (r *reconciler) dropFinalizer(ctx context.Context, node Node, finalizer string) error {
	latest, err := r.latest(ctx, node)
	if latest == nil || err != nil || !slices.Contains(latest.Finalizers, finalizer) {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(latest.Finalizers), func(f string) bool { return f == finalizer })
	return r.patch(ctx, node, latest, "finalizers", rest)
}

// latest reads the object from the server; nil if it is gone or another by now.
func (r *reconciler) latest(ctx context.Context, node Node) (*metav1.PartialObjectMetadata, error) {
	objects, err := r.client(node)
	if err != nil {
		return nil, err
	}
	latest, err := objects.Get(ctx, node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && latest.UID != node.UID) {
		r.forget(node.UID)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", node.Kind, node.Name, err)
	}
	return latest, nil
}

// patch replaces one list of the object's metadata, in the version that was read.
func (r *reconciler) patch(ctx context.Context, node Node, latest *metav1.PartialObjectMetadata, field string, value any) error {
	objects, err := r.client(node)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": latest.UID, "resourceVersion": latest.ResourceVersion, field: value,
	}})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = objects.Patch(ctx, node.Name, types.MergePatchType, raw, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patching %s of %s %s: %w", field, node.Kind, node.Name, err)
	}
	return nil
}
