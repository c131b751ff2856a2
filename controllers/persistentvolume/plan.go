package persistentvolume

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// Event is what is said of an object.
type Event struct{ Type, Reason, Message string }

func normal(reason, format string, args ...any) *Event {
	return &Event{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) *Event {
	return &Event{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// ClaimView is a claim with what decides its fate.
type ClaimView struct {
	Claim *corev1.PersistentVolumeClaim
	// Volumes are all there are; Named is the one that the claim's spec names, nil if it does not exist.
	Volumes []*corev1.PersistentVolume
	Named   *corev1.PersistentVolume
	// Class is the claim's, nil if there is none of that name; Default is the one of claims that name none.
	Class, Default *storagev1.StorageClass
	// Unscheduled are the names of the pods that use the claim and have no node yet.
	Unscheduled []string
}

// ClaimPlan is what is to be done for a claim.
type ClaimPlan struct {
	// Bind is the volume that the claim is, or is to be, bound to.
	Bind *corev1.PersistentVolume
	// Assign is the class that the claim is given.
	Assign *storagev1.StorageClass
	// Provisioner is to make a volume; Refuses is one that won't.
	Provisioner, Refuses string
	// Phase is what the claim is in; "" leaves it as it is.
	Phase corev1.PersistentVolumeClaimPhase
	// Event is said of the claim, if Once only when the phase changes.
	Event *Event
	Once  bool
}

// PlanClaim decides what is to be done for a claim. A plan may come with an error: it is carried out, and the claim
// looked at again.
//
//	Pending ──bind──▶ Bound ──volume gone, or another claim's──▶ Lost
func PlanClaim(v ClaimView) (ClaimPlan, error) {
	switch {
	case metav1.HasAnnotation(v.Claim.ObjectMeta, volumehelpers.AnnBindCompleted):
		return planBound(v), nil
	case v.Claim.Spec.VolumeName != "":
		return planNamed(v)
	}
	return planUnbound(v)
}

// planBound looks after a claim that was bound once.
func planBound(v ClaimView) ClaimPlan {
	lost := func(reason, message string) ClaimPlan {
		return ClaimPlan{Phase: corev1.ClaimLost, Event: warning(reason, "%s", message), Once: true}
	}
	switch {
	case v.Claim.Spec.VolumeName == "":
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case v.Named == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Named.Spec.ClaimRef == nil || v.Named.Spec.ClaimRef.UID == v.Claim.UID:
		return ClaimPlan{Bind: v.Named}
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// planNamed looks after an unbound claim whose author chose the volume.
func planNamed(v ClaimView) (ClaimPlan, error) {
	claim, volume := v.Claim, v.Named
	pending := ClaimPlan{Phase: corev1.ClaimPending}
	switch {
	case volume == nil:
		return pending, nil
	case volume.Spec.ClaimRef == nil:
		if why := mismatch(volume, claim); why != "" {
			pending.Event = warning("VolumeMismatch", "Cannot bind to requested volume %q: %s", volume.Name, why)
			return pending, nil
		}
		return ClaimPlan{Bind: volume}, nil
	case volumehelpers.IsVolumeBoundToClaim(volume, claim):
		return ClaimPlan{Bind: volume}, nil
	}
	taken := warning("FailedBinding", "volume %q already bound to a different claim.", volume.Name)
	if !metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBoundByController) {
		pending.Event = taken
		return pending, nil
	}
	ref := volume.Spec.ClaimRef
	return ClaimPlan{Event: taken}, fmt.Errorf("invalid binding of claim %q to volume %q: volume already claimed by %q",
		claim.Namespace+"/"+claim.Name, volume.Name, ref.Namespace+"/"+ref.Name)
}

// mismatch says why the volume can't be the claim's; "" if it can.
func mismatch(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], volume.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case volume.DeletionTimestamp != nil:
		return fmt.Sprintf("the volume is marked for deletion %q", volume.Name)
	case has.Value() < wanted.Value():
		return "requested PV is too small"
	case volumehelpers.GetPersistentVolumeClass(volume) != volumehelpers.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case valueOf(volume.Spec.VolumeAttributesClassName) != valueOf(claim.Spec.VolumeAttributesClassName):
		return "volumeAttributesClassName does not match"
	case volumehelpers.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec):
		return "incompatible volumeMode"
	case !volumehelpers.CheckAccessModes(claim, volume):
		return "incompatible accessMode"
	}
	return ""
}

func valueOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// planUnbound looks after an unbound claim whose author takes any volume.
func planUnbound(v ClaimView) (ClaimPlan, error) {
	claim := v.Claim
	delayed := v.Class != nil && v.Class.VolumeBindingMode != nil && *v.Class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	volume, err := Match(claim, v.Volumes, delayed)
	switch {
	case err != nil:
		return ClaimPlan{}, fmt.Errorf("error finding PV for claim %q: %w", claim.Namespace+"/"+claim.Name, err)
	case volume != nil:
		return ClaimPlan{Bind: volume}, nil
	case v.Default != nil && !volumehelpers.PersistentVolumeClaimHasClass(claim):
		return ClaimPlan{Assign: v.Default}, nil
	case delayed && !volumehelpers.IsDelayBindingProvisioning(claim):
		return ClaimPlan{Phase: corev1.ClaimPending, Event: waiting(v.Unscheduled)}, nil
	case volumehelpers.GetPersistentVolumeClaimClass(claim) != "":
		return provision(v), nil
	}
	return ClaimPlan{
		Phase: corev1.ClaimPending,
		Event: normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
	}, nil
}

func waiting(pods []string) *Event {
	switch len(pods) {
	case 0:
		return normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case 1:
		return normal("WaitForPodScheduled", "waiting for pod %s to be scheduled", pods[0])
	}
	return normal("WaitForPodScheduled", "waiting for pods %s to be scheduled", strings.Join(pods, ","))
}

// provision asks the class's provisioner, a program of its own, for a volume. No driver is part of this controller,
// so the names of those that were part of Kubernetes and have no successor are refused.
func provision(v ClaimView) ClaimPlan {
	if v.Class == nil {
		return ClaimPlan{Event: warning("ProvisioningFailed", "storageclass.storage.k8s.io %q not found", volumehelpers.GetPersistentVolumeClaimClass(v.Claim))}
	}
	name, migrated := successor(v.Class.Provisioner)
	if name == hostPath {
		return ClaimPlan{Refuses: name, Event: warning("ProvisioningFailed", "Failed to create provisioner: provisioning in volume plugin %q is disabled", name)}
	}
	if !migrated && inTree(name) {
		return ClaimPlan{Event: warning("ProvisioningFailed", "%v", missing(name, "provisionable"))}
	}
	return ClaimPlan{Provisioner: name, Event: normal("ExternalProvisioning",
		"Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", name)}
}

// Match finds the volume for an unbound claim: one bound to it already, else the smallest that is large enough, of
// those with the fewest access modes beyond the wanted. A claim whose binding is delayed is matched by the scheduler.
func Match(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, delayed bool) (*corev1.PersistentVolume, error) {
	byModes := map[int][]*corev1.PersistentVolume{}
	var counts []int
	for _, volume := range volumes {
		if !volumehelpers.CheckAccessModes(claim, volume) {
			continue
		}
		n := distinct(volume.Spec.AccessModes)
		if byModes[n] == nil {
			counts = append(counts, n)
		}
		byModes[n] = append(byModes[n], volume)
	}
	slices.Sort(counts)
	for _, n := range counts {
		slices.SortFunc(byModes[n], func(a, b *corev1.PersistentVolume) int { return strings.Compare(a.Name, b.Name) })
		found, err := volumehelpers.FindMatchingVolume(claim, byModes[n], nil, nil, delayed, true)
		if found != nil || err != nil {
			return found, err //nolint:wrapcheck // names the claim
		}
	}
	return nil, nil
}

func distinct(modes []corev1.PersistentVolumeAccessMode) int {
	modes = slices.Clone(modes)
	slices.Sort(modes)
	return len(slices.Compact(modes))
}
