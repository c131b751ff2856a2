package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// Registering is tried with a growing pause between these bounds.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 7 * time.Second
)

// attachDetachAnnotation tells the attach-detach controller that this node's volumes are its to attach.
const attachDetachAnnotation = "volumes.kubernetes.io/controller-managed-attach-detach"

// register creates the Node, or brings an existing one's labels up to date, trying until ctx ends.
func (r *Reporter) register(ctx context.Context) (*corev1.Node, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		node, err := r.registerOnce(ctx)
		if err == nil {
			return node, nil
		}
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Registering the node failed", "node", r.config.Name, "retry", pause)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (r *Reporter) registerOnce(ctx context.Context) (*corev1.Node, error) {
	wanted := r.initialNode(ctx)
	nodes := r.deps.Client.CoreV1().Nodes()
	created, err := nodes.Create(ctx, wanted, metav1.CreateOptions{})
	if err == nil {
		klog.FromContext(ctx).Info("Registered the node", "node", created.Name)
		r.stateEvents(tellable(created.Status.Conditions))
		return created, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("creating node %s: %w", wanted.Name, err)
	}
	existing, err := nodes.Get(ctx, wanted.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", wanted.Name, err)
	}
	patch := metadataPatch(existing, wanted)
	if patch == nil {
		return existing, nil
	}
	patched, err := nodes.Patch(ctx, wanted.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating node %s: %w", wanted.Name, err)
	}
	return patched, nil
}

// tellable are the conditions of a new node worth an event: that it is not ready yet goes without saying.
func tellable(all []corev1.NodeCondition) []corev1.NodeCondition {
	var told []corev1.NodeCondition
	for _, c := range all {
		if c.Type != corev1.NodeReady || c.Status == corev1.ConditionTrue {
			told = append(told, c)
		}
	}
	return told
}

// initialNode is the Node to create: with its first status, so that it is complete from its first moment.
func (r *Reporter) initialNode(ctx context.Context) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        r.config.Name,
			Labels:      nodeLabels(r.config),
			Annotations: map[string]string{attachDetachAnnotation: "true"},
		},
		Spec: corev1.NodeSpec{Unschedulable: r.config.Unschedulable, Taints: r.config.Taints},
	}
	node.Status = decide(node.Status, r.observe(ctx), time.Now())
	return node
}

// nodeLabels are the labels every node has, and the configured ones.
func nodeLabels(config Config) map[string]string {
	labels := map[string]string{
		corev1.LabelHostname:      config.Hostname,
		corev1.LabelOSStable:      runtime.GOOS,
		corev1.LabelArchStable:    runtime.GOARCH,
		"beta.kubernetes.io/os":   runtime.GOOS,
		"beta.kubernetes.io/arch": runtime.GOARCH,
	}
	maps.Copy(labels, config.Labels)
	return labels
}

// metadataPatch sets the wanted labels and annotations that an existing node lacks; nil if it lacks none. Others stay.
func metadataPatch(existing, wanted *corev1.Node) []byte {
	missing := func(have, want map[string]string) map[string]string {
		lacking := map[string]string{}
		for key, value := range want {
			if found, ok := have[key]; !ok || found != value {
				lacking[key] = value
			}
		}
		return lacking
	}
	labels := missing(existing.Labels, wanted.Labels)
	annotations := missing(existing.Annotations, wanted.Annotations)
	if len(labels)+len(annotations) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return nil // maps of strings always encode
	}
	return patch
}
