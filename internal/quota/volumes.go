package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/storage/volume"
)

// perClass stands between a storage class and what is limited of it.
const perClass = ".storageclass.storage.k8s.io/"

// Claims is the meter of persistent volume claims.
func Claims() Meter {
	return Meter{
		Resource: schema.GroupResource{Resource: "persistentvolumeclaims"},
		Charges: func(n corev1.ResourceName) bool {
			switch n {
			case "count/persistentvolumeclaims", corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage:
				return true
			}
			return strings.HasSuffix(string(n), perClass+string(corev1.ResourcePersistentVolumeClaims)) ||
				strings.HasSuffix(string(n), perClass+string(corev1.ResourceRequestsStorage))
		},
		InScope: func(s corev1.ScopedResourceSelectorRequirement, o runtime.Object) (bool, error) {
			claim, err := as[*corev1.PersistentVolumeClaim](o)
			if err != nil || s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
				return false, err
			}
			return claimInScope(s, claim)
		},
		Usage: func(o runtime.Object) (corev1.ResourceList, error) {
			claim, err := as[*corev1.PersistentVolumeClaim](o)
			if err != nil {
				return nil, err
			}
			return claimUsage(claim), nil
		},
	}
}

func claimUsage(claim *corev1.PersistentVolumeClaim) corev1.ResourceList {
	used := corev1.ResourceList{"count/persistentvolumeclaims": one(), corev1.ResourcePersistentVolumeClaims: one()}
	class := corev1.ResourceName(volume.GetPersistentVolumeClaimClass(claim))
	if class != "" {
		used[class+perClass+corev1.ResourcePersistentVolumeClaims] = one()
	}
	size, ok := storage(claim)
	if !ok {
		return used
	}
	used[corev1.ResourceRequestsStorage] = size
	if class != "" {
		used[class+perClass+corev1.ResourceRequestsStorage] = size
	}
	return used
}

// storage is the larger of what a claim requests and what is allocated to it, in whole bytes.
func storage(claim *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	size, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return size, false
	}
	size = whole(size)
	if allocated, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && allocated.Cmp(size) > 0 {
		size = whole(allocated)
	}
	return size, true
}

func whole(q resource.Quantity) resource.Quantity {
	rounded := q.DeepCopy()
	if rounded.RoundUp(0) {
		return q // it was whole, and keeps its notation
	}
	return rounded
}

func claimInScope(s corev1.ScopedResourceSelectorRequirement, claim *corev1.PersistentVolumeClaim) (bool, error) {
	classes := AttributesClasses(claim)
	if len(classes) == 0 {
		return selects(s, "")
	}
	for _, c := range classes {
		if ok, err := selects(s, c); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// AttributesClasses are the volume attributes classes that a claim wants, has or changes to, in alphabetical order.
func AttributesClasses(claim *corev1.PersistentVolumeClaim) []string {
	var out []string
	for _, p := range []*string{claim.Spec.VolumeAttributesClassName, claim.Status.CurrentVolumeAttributesClassName} {
		if p != nil && *p != "" {
			out = append(out, *p)
		}
	}
	if m := claim.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ClaimChanged says whether a new status may have changed what a claim is charged.
func ClaimChanged(before, after *corev1.PersistentVolumeClaim) bool {
	return before.Status.AllocatedResources.Storage().Cmp(*after.Status.AllocatedResources.Storage()) != 0 ||
		!slices.Equal(AttributesClasses(before), AttributesClasses(after))
}
