package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// validateClaimTemplateMeta allows a claim template labels and annotations.
func validateClaimTemplateMeta(t *corev1.PersistentVolumeClaimTemplate, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, metav1validation.ValidateLabels(t.Labels, path.Child("labels"))...)
	if !equality.Semantic.DeepEqual(t.ObjectMeta, metav1.ObjectMeta{Annotations: t.Annotations, Labels: t.Labels}) {
		errs = append(errs, field.Forbidden(path, "cannot be set"))
	}
	return errs
}

// ValidateAccessModes checks the access modes of a claim or volume.
func ValidateAccessModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) (errs field.ErrorList) {
	if len(modes) == 0 {
		errs = append(errs, field.Required(path, "at least 1 access mode is required"))
	}
	for _, m := range modes {
		errs = append(errs, validate.Enum(m, path, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
	}
	shared := func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadOnlyMany || m == corev1.ReadWriteMany || m == corev1.ReadWriteOnce
	}
	if slices.Contains(modes, corev1.ReadWriteOncePod) && slices.ContainsFunc(modes, shared) {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// ValidateClaimSpec checks the spec of a claim.
func ValidateClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	return ValidateClaimSpecUpdate(s, nil, path)
}

// ValidateClaimSpecUpdate checks the spec of a claim; once old has named the API
// group of a source, any text is let through there.
func ValidateClaimSpecUpdate(s, old *corev1.PersistentVolumeClaimSpec, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, ValidateAccessModes(s.AccessModes, path.Child("accessModes"))...)
	if s.Selector != nil {
		errs = append(errs, validateSelector(s.Selector, path.Child("selector"))...)
	}
	at := path.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(at, ""))
	} else if q.Sign() <= 0 {
		errs = append(errs, field.Invalid(at, q.String(), "must be greater than zero"))
	}
	if n := s.StorageClassName; n != nil && *n != "" {
		errs = append(errs, validate.All(path.Child("storageClassName"), *n, apivalidation.NameIsDNSSubdomain(*n, false))...)
	}
	if m := s.VolumeMode; m != nil {
		errs = append(errs, validate.Enum(*m, path.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	errs = append(errs, validateDataSources(s, old != nil && namesGroup(old), path)...)
	if n := s.VolumeAttributesClassName; n != nil && *n != "" {
		errs = append(errs, validate.All(path.Child("volumeAttributesClassName"), *n, apivalidation.NameIsDNSSubdomain(*n, false))...)
	}
	return errs
}

func namesGroup(s *corev1.PersistentVolumeClaimSpec) bool {
	return (s.DataSource != nil && s.DataSource.APIGroup != nil) || (s.DataSourceRef != nil && s.DataSourceRef.APIGroup != nil)
}

func validateDataSources(s *corev1.PersistentVolumeClaimSpec, anyGroup bool, path *field.Path) (errs field.ErrorList) {
	if d := s.DataSource; d != nil {
		errs = append(errs, validateDataSource(d.Name, d.Kind, d.APIGroup, anyGroup, path.Child("dataSource"))...)
	}
	if d := s.DataSourceRef; d != nil {
		at := path.Child("dataSourceRef")
		errs = append(errs, validateDataSource(d.Name, d.Kind, d.APIGroup, anyGroup, at)...)
		if d.Namespace != nil && *d.Namespace != "" {
			errs = append(errs, validate.All(at.Child("namespace"), *d.Namespace, apivalidation.ValidateNamespaceName(*d.Namespace, false))...)
		}
	}
	ref := s.DataSourceRef
	if ref != nil && ref.Namespace != nil && *ref.Namespace != "" {
		if s.DataSource != nil {
			errs = append(errs, field.Invalid(path, untagged(s.DataSource), "may not be specified when dataSourceRef.namespace is specified"))
		}
		return errs
	}
	if s.DataSource != nil && ref != nil && !sameSource(s.DataSource, ref) {
		errs = append(errs, field.Invalid(path, struct{}{}, "must match dataSourceRef"))
	}
	return errs
}

func sameSource(d *corev1.TypedLocalObjectReference, r *corev1.TypedObjectReference) bool {
	return d.Kind == r.Kind && d.Name == r.Name && equality.Semantic.DeepEqual(d.APIGroup, r.APIGroup)
}

func validateDataSource(name, kind string, group *string, anyGroup bool, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.Required(name, path.Child("name"))...)
	errs = append(errs, validate.Required(kind, path.Child("kind"))...)
	g := ""
	if group != nil {
		g = *group
	}
	if anyGroup && g != "" {
		return errs
	}
	if g == "" {
		if kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
		return errs
	}
	return append(errs, validate.DNSSubdomain(g, path.Child("apiGroup"))...)
}
