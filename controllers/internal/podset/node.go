package podset

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

const nodeIndex = "skiff.controllers/node"

// AddNodeIndex lets the pod informer answer the pods of one node.
func AddNodeIndex(pods cache.SharedIndexInformer) error {
	if _, ok := pods.GetIndexer().GetIndexers()[nodeIndex]; ok {
		return nil
	}
	err := pods.AddIndexers(cache.Indexers{nodeIndex: func(o any) ([]string, error) {
		if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return fmt.Errorf("indexing by node: %w", err)
	}
	return nil
}

// OnNode answers the pods bound to the node, in the order of their names.
func OnNode(pods cache.Indexer, node string) ([]*corev1.Pod, error) {
	items, err := pods.ByIndex(nodeIndex, node)
	if err != nil {
		return nil, fmt.Errorf("reading the node index: %w", err)
	}
	var found []*corev1.Pod
	for _, item := range items {
		if p, ok := item.(*corev1.Pod); ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return found, nil
}
