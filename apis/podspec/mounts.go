package podspec

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// checkMounts checks the mounts of a container. Some fields of a mount are named
// without its index, as in the messages of Kubernetes.
func (c *checker) checkMounts(ctr *corev1.Container, base *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	names, paths := map[string]bool{}, map[string]bool{}
	for _, d := range ctr.VolumeDevices {
		names[d.Name], paths[d.DevicePath] = true, true
	}
	for i := range ctr.VolumeMounts {
		m, at := &ctr.VolumeMounts[i], base.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if c.volumes[m.Name] == nil {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if seen[m.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		seen[m.MountPath] = true
		if names[m.Name] {
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices"))
		}
		if paths[m.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		errs = append(errs, validateMountPaths(m, at, base)...)
		errs = append(errs, validatePropagation(m, ctr, base.Child("mountPropagation"))...)
		errs = append(errs, validateRecursive(m, base.Child("recursiveReadOnly"))...)
	}
	return errs
}

func validateMountPaths(m *corev1.VolumeMount, at, base *field.Path) (errs field.ErrorList) {
	if m.SubPath != "" {
		errs = append(errs, validateDescending(m.SubPath, base.Child("subPath"))...)
	}
	if m.SubPathExpr == "" {
		return errs
	}
	if m.SubPath != "" {
		errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
	}
	return append(errs, validateDescending(m.SubPathExpr, base.Child("subPathExpr"))...)
}

func validatePropagation(m *corev1.VolumeMount, ctr *corev1.Container, at *field.Path) (errs field.ErrorList) {
	p := m.MountPropagation
	if p == nil {
		return nil
	}
	errs = append(errs, validate.Enum(*p, at, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
	privileged := ctr.SecurityContext != nil && ctr.SecurityContext.Privileged != nil && *ctr.SecurityContext.Privileged
	if *p == corev1.MountPropagationBidirectional && !privileged {
		errs = append(errs, field.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers"))
	}
	return errs
}

func validateRecursive(m *corev1.VolumeMount, at *field.Path) field.ErrorList {
	r := m.RecursiveReadOnly
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	switch *r {
	case corev1.RecursiveReadOnlyDisabled:
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !m.ReadOnly {
			errs = append(errs, field.Forbidden(at, "may only be specified when readOnly is true"))
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			errs = append(errs, field.Forbidden(at, "may only be specified when mountPropagation is None or not specified"))
		}
	default:
		errs = append(errs, field.NotSupported(at, *r, []corev1.RecursiveReadOnlyMode{corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible}))
	}
	return errs
}

func (c *checker) checkDevices(ctr *corev1.Container, base *field.Path) (errs field.ErrorList) {
	names, paths := map[string]bool{}, map[string]bool{}
	mounted, mountPaths := map[string]bool{}, map[string]bool{}
	for _, m := range ctr.VolumeMounts {
		mounted[m.Name], mountPaths[m.MountPath] = true, true
	}
	for i, d := range ctr.VolumeDevices {
		name, device := base.Index(i).Child("name"), base.Index(i).Child("devicePath")
		if d.Name == "" {
			errs = append(errs, field.Required(name, ""))
		}
		if names[d.Name] {
			errs = append(errs, field.Invalid(name, d.Name, "must be unique"))
		}
		if v := c.volumes[d.Name]; v != nil && v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			errs = append(errs, field.Invalid(name, d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		} else if v == nil {
			errs = append(errs, field.NotFound(name, d.Name))
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(device, ""))
		}
		if paths[d.DevicePath] {
			errs = append(errs, field.Invalid(device, d.DevicePath, "must be unique"))
		}
		if hasBackstep(d.DevicePath) {
			errs = append(errs, field.Invalid(device, d.DevicePath, "can not contain backsteps ('..')"))
		} else {
			paths[d.DevicePath] = true
		}
		if mounted[d.Name] {
			errs = append(errs, field.Invalid(name, d.Name, "must not already exist in volumeMounts"))
		}
		if mountPaths[d.DevicePath] {
			errs = append(errs, field.Invalid(device, d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
		if d.Name != "" {
			names[d.Name] = true
		}
	}
	return errs
}

func hasBackstep(p string) bool {
	return slices.Contains(strings.Split(p, "/"), "..")
}

// validateDescending checks a relative path that stays below its start.
func validateDescending(p string, at *field.Path) (errs field.ErrorList) {
	if path.IsAbs(p) {
		errs = append(errs, field.Invalid(at, p, "must be a relative path"))
	}
	if hasBackstep(p) {
		errs = append(errs, field.Invalid(at, p, "must not contain '..'"))
	}
	return errs
}

// validateFilePath checks a path of a file in a volume whose content is written
// atomically, which keeps names that begin with ".." to itself.
func validateFilePath(p string, at *field.Path) field.ErrorList {
	errs := validateDescending(p, at)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		errs = append(errs, field.Invalid(at, p, "must not start with '..'"))
	}
	return errs
}
