package statefulset

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func claimName(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", template.Name, set.Name, ordinal)
}

// claims answers the volume claims of an ordinal as the set would create them.
func claims(set *appsv1.StatefulSet, ordinal int) []*corev1.PersistentVolumeClaim {
	var all []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		claim := t.DeepCopy()
		claim.Name, claim.Namespace = claimName(set, t, ordinal), set.Namespace
		claim.Labels = map[string]string{}
		maps.Copy(claim.Labels, t.Labels)
		if set.Spec.Selector != nil {
			maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
		}
		claim.Status = corev1.PersistentVolumeClaimStatus{}
		all = append(all, claim)
	}
	return all
}

// retention answers what becomes of claims when the set is deleted and when pods are scaled away (KEP-1847).
func retention(set *appsv1.StatefulSet) appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	if set.Spec.PersistentVolumeClaimRetentionPolicy != nil {
		return *set.Spec.PersistentVolumeClaimRetentionPolicy
	}
	keep := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	return appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: keep, WhenScaled: keep}
}

func podKind() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("Pod") }

// names reports whether a reference is to an object of that kind and name, whatever its UID.
func names(ref metav1.OwnerReference, kind schema.GroupVersionKind, name string) bool {
	return ref.APIVersion == kind.GroupVersion().String() && ref.Kind == kind.Kind && ref.Name == name
}

// stale reports whether a claim belongs to a former object of the kind and name. The garbage collector will see to it.
func stale(claim *corev1.PersistentVolumeClaim, kind schema.GroupVersionKind, o metav1.Object) bool {
	i := slices.IndexFunc(claim.OwnerReferences, func(r metav1.OwnerReference) bool { return names(r, kind, o.GetName()) })
	return i >= 0 && claim.OwnerReferences[i].UID != o.GetUID()
}

// conflicting reports whether another controller than the set and the pod has a claim to which the policy would apply.
func conflicting(set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim, pod *corev1.Pod) bool {
	keep := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if policy := retention(set); policy.WhenDeleted == keep && policy.WhenScaled == keep {
		return false
	}
	return stale(claim, kind(), set) || stale(claim, podKind(), pod) || slices.ContainsFunc(claim.OwnerReferences, func(r metav1.OwnerReference) bool {
		return r.Controller != nil && *r.Controller && r.UID != set.UID && r.UID != pod.UID
	})
}

// claimOwners answers the owners of the claim of a pod as the retention policy demands them: the set, if claims go with
// it; the pod, if it is to be scaled away and claims go with that. A claim that has another controller gets none of them.
func claimOwners(set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim, pod *corev1.Pod) []metav1.OwnerReference {
	if stale(claim, kind(), set) || stale(claim, podKind(), pod) {
		return claim.OwnerReferences
	}
	var want []metav1.OwnerReference
	drop := appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	switch policy, away := retention(set), !within(set, ordinal(set, pod)); {
	case conflicting(set, claim, pod):
	case policy.WhenScaled == drop && away:
		want = append(want, *metav1.NewControllerRef(pod, podKind()))
	case policy.WhenDeleted == drop:
		want = append(want, *metav1.NewControllerRef(set, kind()))
	}
	var ours, others []metav1.OwnerReference
	for _, r := range claim.OwnerReferences {
		if r.UID == set.UID || r.UID == pod.UID {
			ours = append(ours, r)
		} else {
			others = append(others, r)
		}
	}
	same := slices.EqualFunc(ours, want, func(a, b metav1.OwnerReference) bool {
		return a.UID == b.UID && a.Controller != nil && *a.Controller
	})
	if same {
		return claim.OwnerReferences
	}
	return append(others, want...)
}

// within reports whether the set has an ordinal.
func within(set *appsv1.StatefulSet, n int) bool {
	p := newPlanner(Snapshot{Set: set})
	return n >= p.first && n < p.first+p.count
}
