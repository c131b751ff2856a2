package resourceapi

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// validateSelectors compiles the expressions that choose devices.
func validateSelectors(selectors []resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
	return list[resourcev1.DeviceSelector]{most: resourcev1.DeviceSelectorsMaxSize, sizeDeclared: true, check: validateSelector}.validate(selectors, at)
}

func validateSelector(s *resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
	if s.CEL == nil {
		return field.ErrorList{field.Required(at.Child("cel"), "")}
	}
	return compile(s.CEL.Expression, at.Child("cel", "expression"))
}

func compile(text string, at *field.Path) field.ErrorList {
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		return field.ErrorList{field.TooLong(at, text, resourcev1.CELSelectorExpressionMaxLength)}
	}
	kind := environment.NewExpressions
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(text, dracel.Options{EnvType: &kind})
	if err := result.Error; err != nil {
		switch err.Type {
		case cel.ErrorTypeRequired:
			return field.ErrorList{field.Required(at, err.Detail)}
		case cel.ErrorTypeInternal:
			return field.ErrorList{field.InternalError(at, err)}
		}
		return field.ErrorList{field.Invalid(at, text, err.Detail)}
	}
	if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		return field.ErrorList{field.Forbidden(at, "too complex, exceeds cost limit")}
	}
	return nil
}
