package flowcontrol

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

const lastPrecedence = 10000

func flowSchemas() resource.Definition[*flowcontrolv1.FlowSchema] {
	type F = *flowcontrolv1.FlowSchema
	doc := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return resource.Definition[F]{
		Resource:      group.WithResource("flowschemas"),
		Kind:          "FlowSchema",
		Singular:      "flowschema",
		ClusterScoped: true,
		Object:        &flowcontrolv1.FlowSchema{},
		List:          &flowcontrolv1.FlowSchemaList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default: func(f F) {
			if f.Spec.MatchingPrecedence == 0 {
				f.Spec.MatchingPrecedence = 1000
			}
		},
		Validate: validateFlowSchema,
		Spec:     func(f F) any { return &f.Spec },
		Status:   func(f F) any { return &f.Status },
		PrepareStatus: func(_ context.Context, obj, old F) {
			managed := obj.ManagedFields
			obj.ObjectMeta = old.ObjectMeta
			obj.ManagedFields = managed
		},
		ValidateStatus: func(_ context.Context, obj, _ F) (errs field.ErrorList) {
			seen := map[flowcontrolv1.FlowSchemaConditionType]bool{}
			for i, c := range obj.Status.Conditions {
				errs = append(errs, validateConditionType(string(c.Type), seen[c.Type], i)...)
				seen[c.Type] = true
			}
			return errs
		},
		StatusResetFields: []string{"spec", "metadata"},
		Columns: []resource.Column[F]{
			{Name: "PriorityLevel", Type: "string", Help: flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"], Value: func(f F) any { return f.Spec.PriorityLevelConfiguration.Name }},
			{Name: "MatchingPrecedence", Type: "string", Help: doc["matchingPrecedence"], Value: func(f F) any { return f.Spec.MatchingPrecedence }},
			{Name: "DistinguisherMethod", Type: "string", Help: flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()["distinguisherMethod"], Value: func(f F) any {
				if f.Spec.DistinguisherMethod == nil {
					return "<none>"
				}
				return string(f.Spec.DistinguisherMethod.Type)
			}},
			resource.AgeColumn[F](),
			{Name: "MissingPL", Type: "string", Help: "references a broken or non-existent PriorityLevelConfiguration", Value: func(f F) any {
				for _, c := range f.Status.Conditions {
					if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
						return string(c.Status)
					}
				}
				return "?"
			}},
		},
	}
}

func validateConditionType(kind string, dup bool, i int) field.ErrorList {
	at := field.NewPath("status", "conditions").Index(i).Child("type")
	switch {
	case kind == "":
		return field.ErrorList{field.Required(at, "")}
	case dup:
		return field.ErrorList{field.Duplicate(at, kind)}
	}
	return nil
}

func validateFlowSchema(_ context.Context, obj, _ *flowcontrolv1.FlowSchema) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	if s.MatchingPrecedence <= 0 {
		errs = append(errs, field.Invalid(at.Child("matchingPrecedence"), s.MatchingPrecedence, "must be a positive value"))
	}
	if s.MatchingPrecedence > lastPrecedence {
		errs = append(errs, field.Invalid(at.Child("matchingPrecedence"), s.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", lastPrecedence)))
	}
	if s.MatchingPrecedence == 1 && obj.Name != flowcontrolv1.FlowSchemaNameExempt {
		errs = append(errs, field.Invalid(at.Child("matchingPrecedence"), s.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := s.DistinguisherMethod; m != nil && m.Type != flowcontrolv1.FlowDistinguisherMethodByNamespaceType && m.Type != flowcontrolv1.FlowDistinguisherMethodByUserType {
		errs = append(errs, field.NotSupported(at.Child("distinguisherMethod", "type"), any(validate.GoNames{Value: m}), []string{"ByNamespace", "ByUser"}))
	}
	level := at.Child("priorityLevelConfiguration", "name")
	if name := s.PriorityLevelConfiguration.Name; name != "" {
		errs = append(errs, validate.DNSSubdomain(name, level)...)
	} else {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	}
	for i := range s.Rules {
		errs = append(errs, validateRule(&s.Rules[i], at.Child("rules").Index(i))...)
	}
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == obj.Name && !equality.Semantic.DeepEqual(fixed.Spec, obj.Spec) {
			errs = append(errs, field.Invalid(at, validate.GoNames{Value: s}, fmt.Sprintf("spec of '%s' must equal the fixed value", obj.Name)))
		}
	}
	return errs
}
