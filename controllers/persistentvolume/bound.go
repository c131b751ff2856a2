package persistentvolume

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// preResize keeps a claim's size while the file system on a volume that has grown has not.
const preResize = "volume.alpha.kubernetes.io/pre-resize-capacity"

// BoundClaim answers the claim as it is bound to the volume, and whether that is a change.
func BoundClaim(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, bool) {
	named := claim.Spec.VolumeName == volume.Name
	if named && metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBindCompleted) {
		return claim, false
	}
	claim = claim.DeepCopy()
	if !named {
		claim.Spec.VolumeName = volume.Name
		if !metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBoundByController) {
			metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volumehelpers.AnnBoundByController, "yes")
		}
	}
	if !metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBindCompleted) {
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volumehelpers.AnnBindCompleted, "yes")
	}
	return claim, true
}

// ClaimStatus answers the claim in the phase, with what the volume gives it; without a volume it has nothing. It also
// answers whether that is a change.
func ClaimStatus(claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, bool, error) {
	old := &claim.Status
	claim = claim.DeepCopy()
	now := &claim.Status
	now.Phase = phase
	if volume == nil {
		now.AccessModes, now.Capacity, now.CurrentVolumeAttributesClassName = nil, nil, nil
		changed := old.Phase != phase || old.AccessModes != nil || old.Capacity != nil || old.CurrentVolumeAttributesClassName != nil
		return claim, changed, nil
	}
	changed := old.Phase != phase || !slices.Equal(old.AccessModes, volume.Spec.AccessModes)
	now.AccessModes = slices.Clone(volume.Spec.AccessModes)
	// A bound claim's size is whoever resizes the volume's to say, and its attributes class, too.
	if old.Phase == phase {
		return claim, changed, nil
	}
	capacity, err := capacityOf(claim, volume)
	if err != nil {
		return nil, false, err
	}
	now.Capacity = capacity
	if old.Phase == corev1.ClaimPending && phase == corev1.ClaimBound {
		now.CurrentVolumeAttributesClassName = volume.Spec.VolumeAttributesClassName
	}
	return claim, changed, nil
}

// capacityOf answers what a claim that becomes bound has.
func capacityOf(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) (corev1.ResourceList, error) {
	whole, ok := volume.Spec.Capacity[corev1.ResourceStorage]
	if !ok {
		return nil, fmt.Errorf("PersistentVolume %q is without a storage capacity", volume.Name)
	}
	has, ok := claim.Status.Capacity[corev1.ResourceStorage]
	if text, resizing := volume.Annotations[preResize]; resizing {
		before, err := resource.ParseQuantity(text)
		if err != nil {
			before = whole
		}
		capacity := maps.Clone(claim.Status.Capacity)
		if capacity == nil {
			capacity = corev1.ResourceList{}
		}
		capacity[corev1.ResourceStorage] = before
		return capacity, nil
	}
	if ok && whole.Cmp(has) == 0 {
		return claim.Status.Capacity, nil
	}
	return maps.Clone(volume.Spec.Capacity), nil
}

// Unbound answers the volume without its claim. One that its author reserved for a claim stays reserved by name.
func Unbound(volume *corev1.PersistentVolume) *corev1.PersistentVolume {
	volume = volume.DeepCopy()
	if !metav1.HasAnnotation(volume.ObjectMeta, volumehelpers.AnnBoundByController) {
		volume.Spec.ClaimRef.UID = ""
		return volume
	}
	volume.Spec.ClaimRef = nil
	delete(volume.Annotations, volumehelpers.AnnBoundByController)
	if len(volume.Annotations) == 0 {
		volume.Annotations = nil
	}
	return volume
}
