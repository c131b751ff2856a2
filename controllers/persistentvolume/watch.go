package persistentvolume

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"skiff/controllers/internal/controller"
)

const (
	// byClass finds the claims without a finished binding by their class.
	byClass = "skiff.controllers/unbound-claims-of-class"
	// byClaim finds the volumes whose reference names a claim.
	byClaim = "skiff.controllers/volumes-of-claim"
)

// watches answers whom an event concerns.
type watches struct{ claims, volumes cache.Indexer }

func newWatches(claims, volumes cache.SharedIndexInformer) (*watches, error) {
	for name, index := range map[string]struct {
		informer cache.SharedIndexInformer
		keys     cache.IndexFunc
	}{byClass: {claims, unboundOfClass}, byClaim: {volumes, refKey}} {
		if err := index.informer.AddIndexers(cache.Indexers{name: index.keys}); err != nil {
			return nil, fmt.Errorf("indexing: %w", err)
		}
	}
	return &watches{claims: claims.GetIndexer(), volumes: volumes.GetIndexer()}, nil
}

func unboundOfClass(o any) ([]string, error) {
	claim, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok || metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBindCompleted) {
		return nil, nil
	}
	return []string{volumehelpers.GetPersistentVolumeClaimClass(claim)}, nil
}

func refKey(o any) ([]string, error) {
	volume, ok := o.(*corev1.PersistentVolume)
	if !ok || volume.Spec.ClaimRef == nil {
		return nil, nil
	}
	return []string{refOf(volume).String()}, nil
}

func refOf(volume *corev1.PersistentVolume) controller.Key {
	return controller.Key{Namespace: volume.Spec.ClaimRef.Namespace, Name: volume.Spec.ClaimRef.Name}
}

// ofVolume names the volume, its claim and, if it is to be had, the claims that may want it.
func (w *watches) ofVolume(before, after metav1.Object) []controller.Key {
	keys := controller.Self(before, after)
	old, _ := before.(*corev1.PersistentVolume)
	volume, _ := after.(*corev1.PersistentVolume)
	for _, v := range []*corev1.PersistentVolume{old, volume} {
		if v != nil && v.Spec.ClaimRef != nil {
			keys = append(keys, refOf(v))
		}
	}
	if volume != nil && offered(old, volume) {
		keys = append(keys, keysOf(w.claims, byClass, volumehelpers.GetPersistentVolumeClass(volume))...)
	}
	return keys
}

// offered tells whether the event makes the volume one that claims may have, or another one than before.
func offered(old, volume *corev1.PersistentVolume) bool {
	if volume.Spec.ClaimRef != nil || volume.Status.Phase != corev1.VolumeAvailable {
		return false
	}
	return old == nil || old.UID != volume.UID || old.Status.Phase != volume.Status.Phase ||
		!maps.Equal(old.Labels, volume.Labels) || !equality.Semantic.DeepEqual(old.Spec, volume.Spec)
}

// ofClaim names the claim, and the volumes that a change of its binding, or its end, concerns.
func (w *watches) ofClaim(before, after metav1.Object) []controller.Key {
	keys := controller.Self(before, after)
	old, _ := before.(*corev1.PersistentVolumeClaim)
	claim, _ := after.(*corev1.PersistentVolumeClaim)
	if old != nil && claim != nil && old.UID == claim.UID && old.Spec.VolumeName == claim.Spec.VolumeName {
		return keys
	}
	for _, c := range []*corev1.PersistentVolumeClaim{old, claim} {
		if c != nil && c.Spec.VolumeName != "" {
			keys = append(keys, controller.Key{Name: c.Spec.VolumeName})
		}
	}
	return append(keys, keysOf(w.volumes, byClaim, keys[0].String())...)
}

// ofClass names the claims that the class may serve: its own and those without any.
func (w *watches) ofClass(_, after metav1.Object) []controller.Key {
	class, ok := after.(*storagev1.StorageClass)
	if !ok {
		return nil
	}
	return append(keysOf(w.claims, byClass, class.Name), keysOf(w.claims, byClass, "")...)
}

func keysOf(indexer cache.Indexer, index, value string) []controller.Key {
	items, err := indexer.ByIndex(index, value)
	if err != nil {
		return nil // the index exists
	}
	keys := make([]controller.Key, 0, len(items))
	for _, item := range items {
		if o, ok := item.(metav1.Object); ok {
			keys = append(keys, controller.KeyOf(o))
		}
	}
	return keys
}
