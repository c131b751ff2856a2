package persistentvolume

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	translation "k8s.io/csi-translation-lib"

	"skiff/controllers/internal/claims"
)

const (
	hostPath = "kubernetes.io/host-path"
	nfs      = "kubernetes.io/nfs"
)

var errNoDriver = errors.New("no volume plugin matched")

// inTree tells whether the name is that of a driver that is, or was, part of Kubernetes.
func inTree(name string) bool { return strings.HasPrefix(name, "kubernetes.io/") }

// successor answers the CSI driver that took over from a driver that was part of Kubernetes, or the name itself.
func successor(name string) (string, bool) {
	translator := translation.New()
	if !translator.IsMigratableIntreePluginByName(name) {
		return name, false
	}
	csi, err := translator.GetCSINameFromInTreeName(name)
	if err != nil {
		return name, false
	}
	return csi, true
}

// missing says why the driver of that name can't do what a driver with the power can. Volumes on a host or an NFS
// server are known by name, but nothing here reaches them.
func missing(name, power string) error {
	if name == hostPath || name == nfs {
		return fmt.Errorf("no %s volume plugin matched", power)
	}
	return fmt.Errorf("%w name: %s", errNoDriver, name)
}

// ClaimDriver answers the claim as it says which CSI driver serves it instead of one that was part of Kubernetes, and
// whether that is a change.
func ClaimDriver(claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, bool) {
	provisioner, there := claim.Annotations[volumehelpers.AnnStorageProvisioner]
	if !there {
		provisioner = claim.Annotations[volumehelpers.AnnBetaStorageProvisioner]
	}
	annotations, changed := migratedTo(claim.Annotations, provisioner)
	if !changed {
		return claim, false
	}
	claim = claim.DeepCopy()
	claim.Annotations = annotations
	return claim, true
}

// VolumeDriver is ClaimDriver for a provisioned volume, which also gets the finalizer that keeps it until its driver
// has deleted the storage (KEP-2644): one that was part of Kubernetes has its own, a CSI driver puts its own there.
func VolumeDriver(volume *corev1.PersistentVolume) (*corev1.PersistentVolume, bool) {
	provisioner, dynamic := volume.Annotations[volumehelpers.AnnDynamicallyProvisioned]
	if !dynamic {
		return volume, false
	}
	annotations, changed := migratedTo(volume.Annotations, provisioner)
	finalizers := deletionFinalizers(volume, provisioner)
	if !changed && slices.Equal(finalizers, volume.Finalizers) {
		return volume, false
	}
	volume = volume.DeepCopy()
	volume.Annotations, volume.Finalizers = annotations, finalizers
	return volume, true
}

func deletionFinalizers(volume *corev1.PersistentVolume, provisioner string) []string {
	const own, drivers = volumehelpers.PVDeletionInTreeProtectionFinalizer, volumehelpers.PVDeletionProtectionFinalizer
	if _, migrated := successor(provisioner); migrated {
		return claims.Without(volume.Finalizers, own)
	}
	if !inTree(provisioner) {
		return volume.Finalizers
	}
	finalizers := claims.Without(volume.Finalizers, drivers)
	switch volume.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimDelete:
		if !slices.Contains(finalizers, own) {
			finalizers = append(finalizers, own)
		}
	case corev1.PersistentVolumeReclaimRetain, corev1.PersistentVolumeReclaimRecycle:
		finalizers = claims.Without(finalizers, own)
	}
	return finalizers
}

// migratedTo answers the annotations with the one that names the provisioner's successor, or without if it has none.
func migratedTo(annotations map[string]string, provisioner string) (map[string]string, bool) {
	if provisioner == "" {
		return annotations, false
	}
	want := ""
	if csi, migrated := successor(provisioner); migrated {
		want = csi
	}
	if annotations[volumehelpers.AnnMigratedTo] == want {
		return annotations, false
	}
	annotations = maps.Clone(annotations)
	if want == "" {
		delete(annotations, volumehelpers.AnnMigratedTo)
	} else {
		annotations[volumehelpers.AnnMigratedTo] = want
	}
	return annotations, true
}

// Provisioned answers the claim as it asks the provisioner for a volume, and whether that is a change.
func Provisioned(claim *corev1.PersistentVolumeClaim, provisioner string) (*corev1.PersistentVolumeClaim, bool) {
	if claim.Annotations[volumehelpers.AnnStorageProvisioner] == provisioner {
		return claim, false
	}
	claim = claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volumehelpers.AnnBetaStorageProvisioner, provisioner)
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volumehelpers.AnnStorageProvisioner, provisioner)
	claim, _ = ClaimDriver(claim)
	return claim, true
}
