// Package ttl tells nodes how long they may cache secrets and config maps, by the size of the cluster: the annotation
// node.alpha.kubernetes.io/ttl, in seconds.
package ttl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env     controller.Env
	nodes   listers.NodeLister
	current int // touched by the one worker only
}

// New declares the controller; its one key is the cluster.
func New(env controller.Env) (controller.Spec, error) {
	nodes := env.Informers.Core().V1().Nodes()
	r := &reconciler{env: env, nodes: nodes.Lister()}
	return controller.Spec{
		Name: "ttl", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: nodes.Informer(), Keys: changed}},
	}, nil
}

// changed names the cluster when a node comes, goes or is annotated.
func changed(before, after metav1.Object) []controller.Key {
	if before != nil && after != nil && before.GetAnnotations()[corev1.ObjectTTLAnnotationKey] == after.GetAnnotations()[corev1.ObjectTTLAnnotationKey] {
		return nil
	}
	return []controller.Key{{Name: "cluster"}}
}

func (r *reconciler) reconcile(ctx context.Context, _ controller.Key) (controller.Result, error) {
	nodes, err := r.nodes.List(labels.Everything())
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing nodes: %w", err)
	}
	r.current = Next(r.current, len(nodes))
	wanted := strconv.Itoa(Seconds(r.current))
	var errs []error
	for _, node := range nodes {
		if node.Annotations[corev1.ObjectTTLAnnotationKey] != wanted {
			errs = append(errs, r.annotate(ctx, node, wanted))
		}
	}
	return controller.Result{}, errors.Join(errs...)
}

func (r *reconciler) annotate(ctx context.Context, node *corev1.Node, seconds string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": node.UID, "annotations": map[string]string{corev1.ObjectTTLAnnotationKey: seconds},
	}})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = r.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // gone, or another node by now
		return fmt.Errorf("annotating node %s: %w", node.Name, err)
	}
	return nil
}
