package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateClaim(_ context.Context, c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	if old == nil {
		return podspec.ValidateClaimSpec(&c.Spec, field.NewPath("spec"))
	}
	errs := podspec.ValidateClaimSpecUpdate(&c.Spec, &old.Spec, field.NewPath("spec"))
	return append(errs, validateClaimChange(c, old)...)
}

// validateClaimChange refuses changes of the spec but these: the volume of an
// unbound claim, its class while it has none, and the size and attributes
// class of a bound one.
func validateClaimChange(c, old *corev1.PersistentVolumeClaim) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	now, before := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if before.VolumeName == "" {
		before.VolumeName = now.VolumeName
		if before.StorageClassName == nil && now.StorageClassName != nil && old.Annotations[corev1.BetaStorageClassAnnotation] == "" {
			before.StorageClassName = now.StorageClassName
		}
	}
	if c.Status.Phase == corev1.ClaimBound {
		if now.Resources.Requests != nil {
			now.Resources.Requests[corev1.ResourceStorage] = before.Resources.Requests[corev1.ResourceStorage]
		}
		now.VolumeAttributesClassName = before.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(*now, *before) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", podspec.Diff(*before, *now))))
	}
	size, was, has := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	if size.Cmp(was) < 0 && size.Cmp(has) <= 0 {
		errs = append(errs, field.Forbidden(spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	errs = append(errs, validate.Unchanged(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if c.Status.Phase == corev1.ClaimBound && old.Spec.VolumeAttributesClassName != nil && c.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(spec.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

func validateClaimStatus(_ context.Context, c, _ *corev1.PersistentVolumeClaim) (errs field.ErrorList) {
	status := field.NewPath("status")
	for name, list := range map[string]corev1.ResourceList{"capacity": c.Status.Capacity, "allocatedResources": c.Status.AllocatedResources} {
		for k, q := range list {
			errs = append(errs, podspec.ValidateQuantity(k, q, status.Child(name).Key(string(k)))...)
		}
	}
	return errs
}
