package v1

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateCustom_EvictionResponder_Name keeps the project's domains reserved.
func ValidateCustom_EvictionResponder_Name(_ context.Context, _ operation.Operation, path *field.Path, value, _ *string) field.ErrorList { //nolint:revive // the generator fixes the name
	if value == nil {
		return nil
	}
	domain, _, _ := strings.Cut(*value, "/")
	if domain == "k8s.io" || domain == "kubernetes.io" || strings.HasSuffix(domain, ".k8s.io") || strings.HasSuffix(domain, ".kubernetes.io") {
		return field.ErrorList{field.Invalid(path, *value, "domain names *.k8s.io and *.kubernetes.io are reserved")}
	}
	return nil
}

// ValidateCustom_EvictionResponder_Priority keeps the lowest priorities reserved.
func ValidateCustom_EvictionResponder_Priority(_ context.Context, _ operation.Operation, path *field.Path, value, _ *int32) field.ErrorList { //nolint:revive // the generator fixes the name
	if value != nil && *value >= 0 && *value < 1000 {
		return field.ErrorList{field.Invalid(path, *value, "must be at least 1000: 0-999 is reserved")}
	}
	return nil
}
