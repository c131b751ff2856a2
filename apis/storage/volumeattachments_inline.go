package storage

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const notInline = "may not be specified in the context of inline volumes"

// validateInline checks a volume described inside the attachment: the parts of
// a PersistentVolume that say where the volume is, of a CSI volume.
func validateInline(s *corev1.PersistentVolumeSpec, at *field.Path) (errs field.ErrorList) {
	if s.ClaimRef != nil {
		errs = append(errs, field.Forbidden(at.Child("claimRef"), notInline))
	}
	if len(s.Capacity) != 0 {
		errs = append(errs, field.Forbidden(at.Child("capacity"), notInline))
	}
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified in the context of inline volumes"))
	}
	errs = append(errs, validateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	if p := s.PersistentVolumeReclaimPolicy; p != "" && p != corev1.PersistentVolumeReclaimRetain {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be Retain in the context of inline volumes"))
	}
	if s.NodeAffinity != nil {
		errs = append(errs, field.Forbidden(at.Child("nodeAffinity"), notInline))
	}
	errs = append(errs, validateOneSource(&s.PersistentVolumeSource, at)...)
	if s.StorageClassName != "" {
		errs = append(errs, field.Forbidden(at.Child("storageClassName"), notInline))
	}
	if s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem {
		errs = append(errs, field.Forbidden(at.Child("volumeMode"), "may not specify volumeMode other than Filesystem in the context of inline volumes"))
	}
	return errs
}

func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, at *field.Path) (errs field.ErrorList) {
	if len(modes) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	for _, m := range modes {
		errs = append(errs, validate.Enum(m, at, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
	}
	other := func(m corev1.PersistentVolumeAccessMode) bool { return m != corev1.ReadWriteOncePod }
	if slices.Contains(modes, corev1.ReadWriteOncePod) && slices.ContainsFunc(modes, other) {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// validateOneSource checks that exactly one kind of volume is named.
func validateOneSource(s *corev1.PersistentVolumeSource, at *field.Path) (errs field.ErrorList) {
	v := reflect.ValueOf(s).Elem()
	found := 0
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if found++; found > 1 {
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
			continue
		}
		if s.CSI != nil && name == "csi" {
			errs = append(errs, validateCSI(s.CSI, at.Child("csi"))...)
		}
	}
	if found == 0 {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

func validateCSI(s *corev1.CSIPersistentVolumeSource, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, driverName(s.Driver, at.Child("driver"))...)
	errs = append(errs, validate.Required(s.VolumeHandle, at.Child("volumeHandle"))...)
	errs = append(errs, validateSecretRef(s.ControllerPublishSecretRef, at.Child("controllerPublishSecretRef"))...)
	errs = append(errs, validateSecretRef(s.ControllerExpandSecretRef, at.Child("controllerExpandSecretRef"))...)
	errs = append(errs, validateSecretRef(s.NodePublishSecretRef, at.Child("nodePublishSecretRef"))...)
	return append(errs, validateSecretRef(s.NodeExpandSecretRef, at.Child("nodeExpandSecretRef"))...)
}

func validateSecretRef(r *corev1.SecretReference, at *field.Path) (errs field.ErrorList) {
	if r == nil {
		return nil
	}
	if r.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, validate.DNSSubdomain(r.Name, at.Child("name"))...)
	}
	if r.Namespace == "" {
		return append(errs, field.Required(at.Child("namespace"), ""))
	}
	return append(errs, validate.DNSLabel(r.Namespace, at.Child("namespace"))...)
}
