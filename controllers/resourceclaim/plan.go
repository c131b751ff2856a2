package resourceclaim

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// longestBase leaves room in a name of 63 characters for a dash and the five that the server generates.
const longestBase = 57

// NewClaim answers the claim that the template asks for on behalf of one of the pod's claims. The server completes
// its name.
func NewClaim(pod *corev1.Pod, podClaim string, template *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	annotations := maps.Clone(template.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = podClaim
	yes := true
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: nameBase(pod.Name, podClaim), Namespace: pod.Namespace,
			Labels: maps.Clone(template.Spec.Labels), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}},
		},
		Spec: *template.Spec.Spec.DeepCopy(),
	}
}

// nameBase shortens both names in proportion when they are too long together, so that each remains to be recognised.
func nameBase(pod, claim string) string {
	base := pod + "-" + claim + "-"
	if all := len(base); all > longestBase {
		return pod[:len(pod)*longestBase/all] + "-" + claim[:len(claim)*longestBase/all]
	}
	return base
}

// Done answers whether it is certain that no container of the pod runs or will run.
func Done(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		(pod.DeletionTimestamp != nil && pod.Spec.NodeName == "")
}

// Owner answers the pod that the claim was made for, "" if it was made for none.
func Owner(claim *resourcev1.ResourceClaim) (string, types.UID) {
	if ref := metav1.GetControllerOfNoCopy(claim); ref != nil && ref.APIVersion == "v1" && ref.Kind == "Pod" {
		return ref.Name, ref.UID
	}
	return "", ""
}

// Made answers the one of the pod's own claims that was made for the claim of that name in its spec, nil if none was.
func Made(claims []*resourcev1.ResourceClaim, podClaim string) *resourcev1.ResourceClaim {
	for _, c := range claims {
		if name, ok := c.Annotations[resourcev1.PodResourceClaimAnnotation]; ok && name == podClaim {
			return c
		}
	}
	return nil
}

// Names joins the claims that the pod's status knows with those that were made since, by the name in the pod's spec.
func Names(pod *corev1.Pod, made map[string]string) ([]string, map[string]string) {
	all := map[string]string{}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			all[s.Name] = *s.ResourceClaimName
		}
	}
	maps.Copy(all, made)
	return slices.Sorted(maps.Keys(all)), all
}

// Unreserved answers whether a scheduled pod may use the claim but is not on its list: it was bound without the scheduler.
func Unreserved(pod *corev1.Pod, claim *resourcev1.ResourceClaim) bool {
	return pod.Spec.NodeName != "" && claim.Status.Allocation != nil &&
		!resourceclaim.IsReservedForPod(pod, claim, false) && resourceclaim.CanBeReserved(claim)
}

// Wanting answers whether something is to be done for the pod; claim answers a claim of its namespace, nil if there is none.
func Wanting(pod *corev1.Pod, claim func(name string) *resourcev1.ResourceClaim) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for i := range pod.Spec.ResourceClaims {
		name, owned, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return true
		}
		if name == nil {
			continue // it was decided that none is needed
		}
		there := claim(*name)
		switch {
		case there == nil:
			if pod.Spec.ResourceClaims[i].ResourceClaimTemplateName != nil {
				return true
			}
		case owned && resourceclaim.IsForPod(pod, there, false) != nil: // the pod waits until the other one is gone
		case Unreserved(pod, there):
			return true
		}
	}
	return false
}

// Step is what is next for a claim whose consumers have been checked.
type Step struct {
	// Status says that the status is written: with these consumers and, if Deallocate, without allocation.
	Status     bool
	Remaining  []resourcev1.ResourceClaimConsumerReference
	Deallocate bool
	// Release says that the finalizer goes then.
	Release bool
}

// Next decides for a claim of whose consumers those remain. The last consumer's end frees the devices; a claim that
// was never reserved keeps its allocation until it is deleted.
func Next(claim *resourcev1.ResourceClaim, remaining []resourcev1.ResourceClaimConsumerReference) Step {
	held := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	allocated := claim.Status.Allocation != nil
	switch {
	case len(remaining) < len(claim.Status.ReservedFor):
		free := held && len(remaining) == 0
		return Step{Status: true, Remaining: remaining, Deallocate: free, Release: held && (free || !allocated)}
	case held && claim.DeletionTimestamp != nil && len(remaining) == 0:
		return Step{Status: allocated, Deallocate: allocated, Release: true}
	}
	return Step{}
}
