package volumeexpand

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	translation "k8s.io/csi-translation-lib"
)

// preResize keeps a claim's size while the file system on a volume that has grown has not.
const preResize = "volume.alpha.kubernetes.io/pre-resize-capacity"

// Plan is what is to be done for a claim that wants to grow.
type Plan struct {
	// Message is said of the claim; "" when there is nothing to do.
	Message string
	// Resizer is the CSI driver that is to resize instead of a driver that was part of Kubernetes.
	Resizer string
}

// PlanClaim decides what is to be done for a bound claim.
func PlanClaim(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) (Plan, error) {
	ref := volume.Spec.ClaimRef
	if ref == nil || ref.Namespace != claim.Namespace || ref.UID != claim.UID {
		return Plan{}, fmt.Errorf("persistent Volume is not bound to PVC being updated : %s/%s", claim.Namespace, claim.Name)
	}
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if wanted.Cmp(has) <= 0 && !metav1.HasAnnotation(volume.ObjectMeta, preResize) {
		return Plan{}, nil
	}
	translator := translation.New()
	driver, err := translator.GetInTreePluginNameFromSpec(volume, nil)
	if err != nil || !translator.IsMigratableIntreePluginByName(driver) {
		return Plan{Message: "waiting for an external controller to expand this PVC"}, nil //nolint:nilerr // no driver that was part of Kubernetes
	}
	csi, err := translator.GetCSINameFromInTreeName(driver)
	if err != nil {
		return Plan{}, fmt.Errorf("error getting CSI driver name for pvc %s/%s, with error %w", claim.Namespace, claim.Name, err)
	}
	return Plan{
		Message: fmt.Sprintf("CSI migration enabled for %s; waiting for external resizer to expand the pvc", driver), Resizer: csi,
	}, nil
}

// Grows tells whether the claim's event is about its size: somebody wants more, or has got it.
func Grows(before, after *corev1.PersistentVolumeClaim) bool {
	if after.Status.Phase != corev1.ClaimBound {
		return false
	}
	if before == nil || before.UID != after.UID {
		return true
	}
	wanted, wantedBefore := after.Spec.Resources.Requests[corev1.ResourceStorage], before.Spec.Resources.Requests[corev1.ResourceStorage]
	has, hadBefore := after.Status.Capacity[corev1.ResourceStorage], before.Status.Capacity[corev1.ResourceStorage]
	return wanted.Cmp(wantedBefore) > 0 || has.Cmp(hadBefore) > 0
}
