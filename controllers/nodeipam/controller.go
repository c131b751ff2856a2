// Package nodeipam gives every node its block of the cluster's pod addresses (spec.podCIDR).
package nodeipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/written"
)

const (
	bits4 = 24
	bits6 = 64
)

// all is the key of the write log: blocks are given out one at a time, so every node's writes concern every other.
func all() controller.Key { return controller.Key{Name: "all nodes"} }

type reconciler struct {
	env     controller.Env
	cluster netip.Prefix
	nodes   listers.NodeLister
	store   written.Store
	log     written.Log
}

// New declares the controller for the blocks of cluster.
func New(env controller.Env, cluster netip.Prefix) (controller.Spec, error) {
	if !cluster.IsValid() {
		return controller.Spec{}, errors.New("the pod address range is not set")
	}
	nodes := env.Informers.Core().V1().Nodes()
	r := &reconciler{env: env, cluster: cluster, nodes: nodes.Lister(), store: nodes.Informer().GetIndexer()}
	return controller.Spec{
		Name: "nodeipam", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: nodes.Informer(), Keys: without}},
	}, nil
}

func without(_, after metav1.Object) []controller.Key {
	if node, ok := after.(*corev1.Node); ok && node.Spec.PodCIDR == "" {
		return []controller.Key{{Name: node.Name}}
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(all()) {
		return controller.Result{RequeueAfter: written.Repair / 10}, nil
	}
	node, err := r.nodes.Get(key.Name)
	if apierrors.IsNotFound(err) || (err == nil && node.Spec.PodCIDR != "") {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading node: %w", err)
	}
	used, err := r.used()
	if err != nil {
		return controller.Result{}, err
	}
	bits := bits4
	if !r.cluster.Addr().Is4() {
		bits = bits6
	}
	block, ok := Free(r.cluster, max(bits, r.cluster.Bits()), used)
	if !ok {
		r.env.Events.Eventf(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: %s", node.Name, "CIDRNotAvailable")
		return controller.Result{}, fmt.Errorf("no block of %s is left for node %s", r.cluster, node.Name)
	}
	return controller.Result{}, r.assign(ctx, node, block)
}

func (r *reconciler) used() ([]netip.Prefix, error) {
	nodes, err := r.nodes.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var used []netip.Prefix
	for _, n := range nodes {
		for _, cidr := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				used = append(used, p)
			}
		}
	}
	return used, nil
}

func (r *reconciler) assign(ctx context.Context, node *corev1.Node, block netip.Prefix) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": block.String(), "podCIDRs": []string{block.String()}},
	})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	result, err := r.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("assigning %s: %w", block, err)
	}
	r.log.Wrote(all(), r.store, result)
	return nil
}
