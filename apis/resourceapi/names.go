package resourceapi

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

// longestName is the length of the longest "domain/identifier".
const longestName = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength

// validateQualified checks "identifier" or "domain/identifier" of an attribute
// or capacity. More than one slash is let through, as Kubernetes does.
func validateQualified(name resourcev1.QualifiedName, at *field.Path) (errs field.ErrorList) {
	parts := strings.Split(string(name), "/")
	switch len(parts) {
	case 1:
		return validateIdentifier(parts[0], at)
	case 2:
		if parts[0] == "" {
			errs = append(errs, field.Invalid(at, "", "the domain must not be empty"))
		} else {
			errs = append(errs, podspec.ValidateCSIDriverName(parts[0], at)...)
		}
		if parts[1] == "" {
			return append(errs, field.Invalid(at, "", "the name must not be empty"))
		}
		return append(errs, validateIdentifier(parts[1], at)...)
	}
	return nil
}

// validateFull demands a domain.
func validateFull(name resourcev1.FullyQualifiedName, at *field.Path) field.ErrorList {
	errs := validateQualified(resourcev1.QualifiedName(name), at)
	if !strings.Contains(string(name), "/") {
		errs = append(errs, field.Invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash"))
	}
	return errs.WithOrigin("format=k8s-resource-fully-qualified-name")
}

func validateIdentifier(id string, at *field.Path) (errs field.ErrorList) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(at, id, resourcev1.DeviceMaxIDLength))
	}
	return append(errs, validate.All(at, id, content.IsCIdentifier(id))...)
}

// validateDriver checks the name of a driver where the types declare all of it.
func validateDriver(name string, at *field.Path) field.ErrorList {
	errs := podspec.ValidateCSIDriverName(name, at)
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeTooLong:
			_ = e.WithOrigin("maxLength")
		case field.ErrorTypeInvalid:
			_ = e.WithOrigin("format=k8s-long-name-caseless")
		}
	}
	return errs.MarkCoveredByDeclarative()
}

// validatePoolName checks DNS subdomains between slashes.
func validatePoolName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		errs = append(errs, field.TooLong(at, name, resourcev1.PoolNameMaxLength))
	}
	for _, part := range strings.Split(name, "/") {
		errs = append(errs, validate.DNSSubdomain(part, at)...)
	}
	return errs.WithOrigin("format=k8s-resource-pool-name")
}

func validateLabelValue(value string, at *field.Path) field.ErrorList {
	return validate.All(at, value, validation.IsValidLabelValue(value))
}

func validateNodeName(name string, at *field.Path) field.ErrorList {
	return validate.DNSSubdomain(name, at)
}
