// Package validate is a small vocabulary for validating API objects: checks
// that several resources share, with the texts of the Kubernetes API.
package validate

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Immutable is the text of "this field can't change".
const Immutable = "field is immutable"

// StandardFinalizer checks that an unqualified finalizer is one Kubernetes knows.
func StandardFinalizer(name string, path *field.Path) field.ErrorList {
	known := []string{"kubernetes", "orphan", "foregroundDeletion"}
	if strings.Contains(name, "/") || slices.Contains(known, name) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

// All reports each message as an invalid value at path.
func All(path *field.Path, value any, messages []string) (errs field.ErrorList) {
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

// QualifiedName checks "name" or "prefix/name", as label keys are.
func QualifiedName(value string, path *field.Path) field.ErrorList {
	return All(path, value, validation.IsQualifiedName(value))
}

// DNSLabel checks an RFC 1123 label.
func DNSLabel(value string, path *field.Path) field.ErrorList {
	return All(path, value, validation.IsDNS1123Label(value)).WithOrigin("format=k8s-short-name")
}

// DNSSubdomain checks an RFC 1123 subdomain.
func DNSSubdomain(value string, path *field.Path) field.ErrorList {
	return All(path, value, validation.IsDNS1123Subdomain(value)).WithOrigin("format=k8s-long-name")
}

// Port checks a port number.
func Port(value int32, path *field.Path) field.ErrorList {
	return All(path, value, validation.IsValidPortNum(int(value)))
}

// NonNegative checks a number that counts something.
func NonNegative[T ~int | ~int32 | ~int64](value T, path *field.Path) field.ErrorList {
	if value < 0 {
		return field.ErrorList{field.Invalid(path, value, "must be greater than or equal to 0").WithOrigin("minimum")}
	}
	return nil
}

// Positive checks a number that is at least one.
func Positive[T ~int | ~int32 | ~int64](value T, path *field.Path) field.ErrorList {
	if value <= 0 {
		return field.ErrorList{field.Invalid(path, value, "must be greater than 0")}
	}
	return nil
}

// Enum checks that value is one of supported.
func Enum[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, supported)}
}

// RequiredEnum is Enum that calls an empty value required.
func RequiredEnum[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return Enum(value, path, supported...)
}

// Required checks that a text is not empty.
func Required(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// Unchanged checks that a field keeps its value.
func Unchanged(value, old any, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(old, value) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, Immutable)}
}
