// Package claims finds the pods of a PersistentVolumeClaim.
package claims

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"

	"skiff/controllers/internal/controller"
)

const (
	index = "skiff.controllers/claims-of"
	// ProtectionFinalizer keeps a claim that pods use, VolumeProtectionFinalizer a volume that is bound.
	ProtectionFinalizer, VolumeProtectionFinalizer = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
)

// Index adds the index of pods by claim to the informer of pods, once.
func Index(pods cache.SharedIndexInformer) error {
	if _, there := pods.GetIndexer().GetIndexers()[index]; there {
		return nil
	}
	if err := pods.AddIndexers(cache.Indexers{index: keys}); err != nil {
		return fmt.Errorf("indexing pods by claim: %w", err)
	}
	return nil
}

func keys(o any) ([]string, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var all []string
	for _, k := range Of(pod) {
		all = append(all, k.String())
	}
	return all, nil
}

// Of answers the claims that the pod's volumes name, those of its ephemeral volumes too.
func Of(pod *corev1.Pod) []controller.Key {
	var all []controller.Key
	for i := range pod.Spec.Volumes {
		if name := Name(pod, &pod.Spec.Volumes[i]); name != "" {
			all = append(all, controller.Key{Namespace: pod.Namespace, Name: name})
		}
	}
	return all
}

// Name answers the claim that the volume names, "" if it is of another kind.
func Name(pod *corev1.Pod, volume *corev1.Volume) string {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil:
		return ephemeral.VolumeClaimName(pod, volume)
	}
	return ""
}

// Pods answers the cached pods that name the claim.
func Pods(pods cache.Indexer, claim controller.Key) ([]*corev1.Pod, error) {
	items, err := pods.ByIndex(index, claim.String())
	if err != nil {
		return nil, fmt.Errorf("finding the pods of claim %s: %w", claim, err)
	}
	all := make([]*corev1.Pod, 0, len(items))
	for _, item := range items {
		if pod, ok := item.(*corev1.Pod); ok {
			all = append(all, pod)
		}
	}
	return all, nil
}

// Without answers the finalizers without the one.
func Without(finalizers []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == one })
}
