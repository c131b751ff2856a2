package localpath

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// VolumeName answers the name of the volume, and of the directory, that is made for the claim.
func VolumeName(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// Asks tells whether the claim waits for a volume of this provisioner.
func Asks(claim *corev1.PersistentVolumeClaim) bool {
	provisioner, there := claim.Annotations[volumehelpers.AnnStorageProvisioner]
	if !there {
		provisioner = claim.Annotations[volumehelpers.AnnBetaStorageProvisioner]
	}
	return provisioner == Name && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil
}

// Refuse says why there can be no volume for the claim; "" if there can.
func Refuse(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) string {
	spec := &claim.Spec
	for _, mode := range spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return fmt.Sprintf("a directory of one node supports the access modes ReadWriteOnce and ReadWriteOncePod, not %s", mode)
		}
	}
	switch {
	case spec.VolumeMode != nil && *spec.VolumeMode != corev1.PersistentVolumeFilesystem:
		return fmt.Sprintf("a directory supports the volumeMode Filesystem, not %s", *spec.VolumeMode)
	case spec.Selector != nil:
		return "claim Selector is not supported"
	case spec.DataSource != nil || spec.DataSourceRef != nil:
		return "a directory can't be made from a data source"
	case spec.VolumeAttributesClassName != nil && *spec.VolumeAttributesClassName != "":
		return "volumeAttributesClassName is not supported"
	case len(class.MountOptions) > 0:
		return fmt.Sprintf("Mount options are not supported by the provisioner but StorageClass %q has mount options %v", class.Name, class.MountOptions)
	case len(class.Parameters) > 0:
		return fmt.Sprintf("the parameters %v are not known", slices.Sorted(maps.Keys(class.Parameters)))
	}
	return ""
}

// Volume answers the volume of the claim: a directory on the node with that hostname.
func Volume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, hostname, path string) *corev1.PersistentVolume {
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: VolumeName(claim), Annotations: map[string]string{volumehelpers.AnnDynamicallyProvisioned: Name},
		},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			AccessModes:            claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode,
			Capacity: corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeReclaimPolicy: policy, StorageClassName: class.Name,
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{hostname}}},
			}}}},
		},
	}
	volume.Finalizers = Finalizers(volume)
	return volume
}

// Ours tells whether the volume is one that this provisioner made on the node with that hostname. The affinity says
// so: it is what nobody can change.
func Ours(volume *corev1.PersistentVolume, hostname string) bool {
	affinity := volume.Spec.NodeAffinity
	if volume.Annotations[volumehelpers.AnnDynamicallyProvisioned] != Name || volume.Spec.Local == nil ||
		affinity == nil || affinity.Required == nil || len(affinity.Required.NodeSelectorTerms) != 1 {
		return false
	}
	return slices.ContainsFunc(affinity.Required.NodeSelectorTerms[0].MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
		return r.Key == corev1.LabelHostname && r.Operator == corev1.NodeSelectorOpIn && slices.Equal(r.Values, []string{hostname})
	})
}

// Finalizers answers the finalizers that the volume should have: one keeps a volume with the policy Delete until its
// directory is removed (KEP-2644).
func Finalizers(volume *corev1.PersistentVolume) []string {
	const own = volumehelpers.PVDeletionProtectionFinalizer
	has := slices.Contains(volume.Finalizers, own)
	deletes := volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
	switch {
	case deletes && !has && volume.DeletionTimestamp == nil:
		return append(slices.Clone(volume.Finalizers), own)
	case !deletes && has:
		return without(volume.Finalizers, own)
	}
	return volume.Finalizers
}

func without(finalizers []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == one })
}

// Reclaims tells whether the volume's directory is to be removed.
func Reclaims(volume *corev1.PersistentVolume) bool {
	kept := slices.Contains(volume.Finalizers, volumehelpers.PVDeletionProtectionFinalizer)
	return volume.Status.Phase == corev1.VolumeReleased && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		(volume.DeletionTimestamp == nil || kept)
}
