package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateReview(r *authorizationv1.SubjectAccessReview) field.ErrorList {
	errs := validateSpec(&r.Spec, field.NewPath("spec"))
	if !equality.Semantic.DeepEqual(metav1.ObjectMeta{}, withoutOwners(r.ObjectMeta)) {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), r.ObjectMeta, "must be empty"))
	}
	return errs
}

func validateSelf(r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	errs := validateOne(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, field.NewPath("spec"))
	errs = append(errs, validateSelectors(r.Spec.ResourceAttributes, field.NewPath("spec", "resourceAttributes"))...)
	if !equality.Semantic.DeepEqual(metav1.ObjectMeta{}, withoutOwners(r.ObjectMeta)) {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), r.ObjectMeta, "must be empty"))
	}
	return errs
}

func validateLocal(r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := validateSpec(&r.Spec, field.NewPath("spec"))
	meta := withoutOwners(r.ObjectMeta)
	meta.Namespace = ""
	if !equality.Semantic.DeepEqual(metav1.ObjectMeta{}, meta) {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), r.ObjectMeta, "must be empty except for namespace"))
	}
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if a := r.Spec.NonResourceAttributes; a != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), validate.GoNames{Value: a}, "disallowed on this kind of request"))
	}
	return errs
}

// withoutOwners is metadata without what the server itself fills in.
func withoutOwners(m metav1.ObjectMeta) metav1.ObjectMeta {
	m.ManagedFields = nil
	return m
}

func validateSpec(s *authorizationv1.SubjectAccessReviewSpec, at *field.Path) field.ErrorList {
	errs := validateOne(s.ResourceAttributes, s.NonResourceAttributes, at)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(at.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	return append(errs, validateSelectors(s.ResourceAttributes, at.Child("resourceAttributes"))...)
}

func validateOne(a *authorizationv1.ResourceAttributes, url *authorizationv1.NonResourceAttributes, at *field.Path) (errs field.ErrorList) {
	if (a == nil) == (url == nil) {
		errs = append(errs, field.Invalid(at, validate.GoNames{Value: url}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	return errs
}

func validateSelectors(a *authorizationv1.ResourceAttributes, at *field.Path) (errs field.ErrorList) {
	if a == nil {
		return nil
	}
	if s := a.FieldSelector; s != nil {
		here := at.Child("fieldSelector")
		errs = append(errs, validateForm(s.RawSelector, len(s.Requirements), here)...)
		for i, r := range s.Requirements {
			errs = append(errs, metavalidation.ValidateFieldSelectorRequirement(r, metavalidation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, here.Child("requirements").Index(i))...)
		}
	}
	if s := a.LabelSelector; s != nil {
		here := at.Child("labelSelector")
		errs = append(errs, validateForm(s.RawSelector, len(s.Requirements), here)...)
		for i, r := range s.Requirements {
			errs = append(errs, metavalidation.ValidateLabelSelectorRequirement(r, metavalidation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, here.Child("requirements").Index(i))...)
		}
	}
	return errs
}

func validateForm(raw string, requirements int, at *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements != 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), "when "+at.String()+" is specified, requirements or rawSelector is required")}
	}
	return nil
}
