package persistentvolume

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// VolumePlan is what is to be done for a volume, in the order of the fields.
type VolumePlan struct {
	// Unbind takes the reference to the claim back.
	Unbind bool
	// Phase and Message are the volume's; "" leaves them as they are. Event is said when the phase changes.
	Phase   corev1.PersistentVolumePhase
	Message string
	Event   *Event
	// Recycle empties the volume and makes it available again; Delete says that somebody is to delete it.
	Recycle, Delete bool
	// Mismatch is said of the volume and OfClaim of its claim.
	Mismatch, OfClaim *Event
}

// PlanVolume decides what is to be done for a volume. claim is the one that the volume's reference names, nil if that
// one is gone.
//
//	Pending ─▶ Available ─▶ Bound ─▶ Released ─▶ gone, by who made it
//	             ▲   ▲        │        │   │
//	             │   └─unbind─┘        │   └─▶ Failed, if nobody can delete it
//	             └──────recycle────────┘
func PlanVolume(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) VolumePlan {
	ref := volume.Spec.ClaimRef
	switch {
	case ref == nil || ref.UID == "":
		return VolumePlan{Phase: corev1.VolumeAvailable}
	case claim == nil:
		return release(volume)
	case claim.Spec.VolumeName == "" && volumehelpers.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec):
		return VolumePlan{
			Mismatch: warning("VolumeMismatch", "Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name),
			OfClaim:  warning("VolumeMismatch", "Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", volume.Name),
		}
	case claim.Spec.VolumeName == "":
		return VolumePlan{} // it is for the claim to finish the binding
	case claim.Spec.VolumeName == volume.Name:
		return VolumePlan{Phase: corev1.VolumeBound}
	case metav1.HasAnnotation(volume.ObjectMeta, volumehelpers.AnnDynamicallyProvisioned) &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return release(volume) // made for a claim that has got another one meanwhile
	}
	return VolumePlan{Unbind: true, Phase: corev1.VolumeAvailable}
}

// release reclaims a volume whose claim is gone. Whoever provisioned it deletes it; a volume that nobody can delete or
// recycle has failed, and stays so for everybody to see.
func release(volume *corev1.PersistentVolume) VolumePlan {
	plan := VolumePlan{}
	if volume.Status.Phase != corev1.VolumeFailed {
		plan.Phase = corev1.VolumeReleased
	}
	if volume.Annotations[volumehelpers.AnnMigratedTo] != "" {
		return plan
	}
	var failure *Event
	switch policy := volume.Spec.PersistentVolumeReclaimPolicy; policy {
	case corev1.PersistentVolumeReclaimRetain:
	case corev1.PersistentVolumeReclaimRecycle:
		if volume.Spec.HostPath != nil || volume.Spec.NFS != nil {
			plan.Recycle = true
			break
		}
		failure = warning("VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case corev1.PersistentVolumeReclaimDelete:
		plan.Delete = true
		if err := undeletable(volume); err != nil {
			failure = warning("VolumeFailedDelete", "%v", err)
		}
	default:
		failure = warning("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy")
	}
	if failure != nil {
		plan.Phase, plan.Event = corev1.VolumeFailed, failure
		if failure.Reason != "VolumeUnknownReclaimPolicy" {
			plan.Message = failure.Message
		}
	}
	return plan
}

// undeletable says why nobody deletes the volume; nil if somebody else does.
func undeletable(volume *corev1.PersistentVolume) error {
	by, source := volume.Annotations[volumehelpers.AnnDynamicallyProvisioned], volume.Spec.PersistentVolumeSource
	switch {
	case by != "" && !inTree(by):
		return nil
	case by != "":
		return missing(by, "deletable")
	case source.CSI != nil:
		return nil
	case source.HostPath != nil && !temporary(source.HostPath.Path):
		return fmt.Errorf("host_path deleter only supports /tmp/.+ but received provided %s", source.HostPath.Path)
	}
	why := errNoDriver
	if source.HostPath != nil || source.NFS != nil {
		why = missing(hostPath, "deletable")
	}
	return fmt.Errorf("error getting deleter volume plugin for volume %q: %w", volume.Name, why)
}

// temporary answers whether the path is one that the driver of host paths would delete.
func temporary(path string) bool {
	_, rest, found := strings.Cut(path, "/tmp/")
	return found && rest != ""
}
