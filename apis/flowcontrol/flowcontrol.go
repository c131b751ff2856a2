// Package flowcontrol defines the resources of the flowcontrol.apiserver.k8s.io
// API group: which requests share which part of the server.
package flowcontrol

import (
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/flowcontrol/v1"
	"skiff/apis/resource"
)

var (
	group    = flowcontrolv1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// Resources lists what the group serves.
func Resources() []resource.Resource {
	return []resource.Resource{flowSchemas(), priorityLevelConfigurations()}
}

func setTo[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}

// validateWhole checks that "*" is alone in a list, which what names.
func validateWhole(list []string, what string, at *field.Path) field.ErrorList {
	if slices.Contains(list, "*") && len(list) > 1 {
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other "+what)}
	}
	return nil
}
