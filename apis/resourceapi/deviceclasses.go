package resourceapi

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	dracel "k8s.io/dynamic-resource-allocation/cel"

	"skiff/apis/resource"
)

func deviceClasses() resource.Definition[*resourcev1.DeviceClass] {
	type C = *resourcev1.DeviceClass
	return resource.Definition[C]{
		Resource:      group.WithResource("deviceclasses"),
		Kind:          "DeviceClass",
		Singular:      "deviceclass",
		ClusterScoped: true,
		Object:        &resourcev1.DeviceClass{},
		List:          &resourcev1.DeviceClassList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		Validate: func(_ context.Context, obj, _ C) field.ErrorList {
			at := field.NewPath("spec")
			errs := validateSelectors(obj.Spec.Selectors, at.Child("selectors"))
			for i := range obj.Spec.Config {
				errs = append(errs, validateConfiguration(&obj.Spec.Config[i].DeviceConfiguration, at.Child("config").Index(i))...)
			}
			return errs
		},
		Spec:    func(c C) any { return &c.Spec },
		Columns: []resource.Column[C]{},
	}
}

// validateSelectors compiles the expressions that choose devices.
func validateSelectors(selectors []resourcev1.DeviceSelector, at *field.Path) (errs field.ErrorList) {
	for i, s := range selectors {
		here := at.Index(i).Child("cel")
		if s.CEL == nil {
			errs = append(errs, field.Required(here, ""))
			continue
		}
		expression := here.Child("expression")
		switch text := s.CEL.Expression; {
		case len(text) > resourcev1.CELSelectorExpressionMaxLength:
			errs = append(errs, field.TooLong(expression, "", resourcev1.CELSelectorExpressionMaxLength))
		default:
			errs = append(errs, compile(text, expression)...)
		}
	}
	return errs
}

func compile(text string, at *field.Path) field.ErrorList {
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(text, dracel.Options{})
	if result.Error != nil {
		return field.ErrorList{field.Invalid(at, text, result.Error.Detail)}
	}
	if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		return field.ErrorList{field.Forbidden(at, "too complex, exceeds cost limit")}
	}
	return nil
}
