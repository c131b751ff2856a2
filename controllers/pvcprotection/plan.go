package pvcprotection

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"skiff/controllers/internal/claims"
)

// Finalizers answers the finalizers that the claim should have, nil if it has them. used is asked only when the claim
// is going and would lose its protection.
func Finalizers(claim *corev1.PersistentVolumeClaim, used func() (bool, error)) ([]string, error) {
	protected := slices.Contains(claim.Finalizers, claims.ProtectionFinalizer)
	if claim.DeletionTimestamp == nil {
		if protected {
			return nil, nil
		}
		return append(slices.Clone(claim.Finalizers), claims.ProtectionFinalizer), nil
	}
	if !protected {
		return nil, nil
	}
	if inUse, err := used(); err != nil || inUse {
		return nil, err
	}
	return append([]string{}, claims.Without(claim.Finalizers, claims.ProtectionFinalizer)...), nil
}

// Uses tells whether the pod holds the claim. A pod without a node does not: no kubelet starts a pod whose claim is
// going. A pod that its kubelet is done with holds no claim of an ephemeral volume, which goes with the pod.
func Uses(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if claims.Name(pod, volume) != claim.Name {
			continue
		}
		if volume.Ephemeral == nil || (!shutDown(pod) && ephemeral.VolumeIsForPod(pod, claim) == nil) {
			return true
		}
	}
	return false
}

func shutDown(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0
}

// frees tells whether the pod, as it is now, no longer stands in the way of its claims.
func frees(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || shutDown(pod)
}
