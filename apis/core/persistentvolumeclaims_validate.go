package core

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
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
	for _, k := range slices.Sorted(maps.Keys(c.Status.Capacity)) {
		errs = append(errs, validateAmount(c.Status.Capacity[k], status.Child("capacity").Key(string(k)))...)
	}
	at := status.Child("allocatedResourceStatuses")
	for _, k := range slices.Sorted(maps.Keys(c.Status.AllocatedResourceStatuses)) {
		errs = append(errs, validateClaimResource(k, at)...)
		if known := resizeStatuses(); !slices.Contains(known, c.Status.AllocatedResourceStatuses[k]) {
			errs = append(errs, field.NotSupported(at, corev1.ClaimResourceStatus(k), known))
		}
	}
	at = status.Child("allocatedResources")
	for _, k := range slices.Sorted(maps.Keys(c.Status.AllocatedResources)) {
		if bad := validateClaimResource(k, at); len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		errs = append(errs, validateAmount(c.Status.AllocatedResources[k], at.Key(string(k)))...)
	}
	return errs
}

func resizeStatuses() []corev1.ClaimResourceStatus {
	return []corev1.ClaimResourceStatus{
		corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
		corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
	}
}

func validateAmount(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Value() < 0 {
		return field.ErrorList{field.Invalid(at, q.Value(), "must be a valid resource quantity")}
	}
	return nil
}

// validateClaimResource allows storage, and resources that are someone's own.
func validateClaimResource(name corev1.ResourceName, at *field.Path) field.ErrorList {
	if errs := validate.QualifiedName(string(name), at); len(errs) > 0 {
		return errs
	}
	if podspec.Native(name) && name != corev1.ResourceStorage {
		return field.ErrorList{field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceStorage})}
	}
	return nil
}
