package endpointslice

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/controller"
)

// ofPod answers the services whose endpoints an event of a pod may change.
func (r *reconciler) ofPod(before, after metav1.Object) []controller.Key {
	var old, pod any
	if after != nil {
		pod = after
	}
	if before != nil {
		old = before
	}
	projection := endpointsliceutil.GetPodUpdateProjectionKey(old, pod)
	if projection == nil {
		return nil
	}
	names, err := endpointsliceutil.GetServicesToUpdate(r.services, projection)
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for name := range names {
		keys = append(keys, keyOf(name))
	}
	return keys
}

func keyOf(name string) controller.Key {
	namespace, name, _ := strings.Cut(name, "/")
	return controller.Key{Namespace: namespace, Name: name}
}

// ofNode keeps the topology true and answers the services whose hints no longer fit it.
func (r *reconciler) ofNode(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Node)
	node, _ := after.(*corev1.Node)
	if old != nil && node != nil && sameTopology(old, node) {
		return nil
	}
	nodes, err := r.nodes.List(labels.Everything())
	if err != nil {
		return nil
	}
	r.topology.SetNodes(klog.Background().WithName("endpointslice"), nodes)
	var keys []controller.Key
	for _, name := range slices.Sorted(slices.Values(r.topology.GetOverloadedServices())) {
		keys = append(keys, keyOf(name))
	}
	return keys
}

func sameTopology(a, b *corev1.Node) bool {
	return maps.Equal(a.Labels, b.Labels) && nodeReady(a) == nodeReady(b) && equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable)
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
