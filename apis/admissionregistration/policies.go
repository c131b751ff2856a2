package admissionregistration

import (
	"context"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func validatingAdmissionPolicies(c expressions) resource.Definition[*admissionv1.ValidatingAdmissionPolicy] {
	type P = *admissionv1.ValidatingAdmissionPolicy
	return resource.Definition[P]{
		Resource:      group.WithResource("validatingadmissionpolicies"),
		Kind:          "ValidatingAdmissionPolicy",
		Singular:      "validatingadmissionpolicy",
		Categories:    categories(),
		ClusterScoped: true,
		Object:        &admissionv1.ValidatingAdmissionPolicy{},
		List:          &admissionv1.ValidatingAdmissionPolicyList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default: func(p P) {
			setTo(&p.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatchResources(p.Spec.MatchConstraints)
		},
		Validate: func(_ context.Context, obj, old P) field.ErrorList { return c.validateValidating(obj, old) },
		Spec:     func(p P) any { return &p.Spec },
		Status:   func(p P) any { return &p.Status },
		PrepareStatus: func(_ context.Context, obj, old P) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus: func(_ context.Context, obj, old P) field.ErrorList {
			errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
			errs = append(errs, validateTypeChecking(obj.Status.TypeChecking, field.NewPath("status", "typeChecking", "expressionWarnings"))...)
			return append(errs, metavalidation.ValidateConditions(obj.Status.Conditions, field.NewPath("status", "conditions"))...)
		},
		StatusResetFields: []string{"metadata", "spec"},
		Columns: []resource.Column[P]{
			{Name: "Validations", Type: "integer", Help: "Validations indicates the number of validation rules defined in this configuration", Value: func(p P) any { return int64(len(p.Spec.Validations)) }},
			{Name: "ParamKind", Type: "string", Help: "ParamKind specifies the kind of resources used to parameterize this policy", Value: func(p P) any { return kindOf(p.Spec.ParamKind) }},
		},
		NoUnconditionalUpdate: true,
	}
}

func mutatingAdmissionPolicies(c expressions) resource.Definition[*admissionv1.MutatingAdmissionPolicy] {
	type P = *admissionv1.MutatingAdmissionPolicy
	return resource.Definition[P]{
		Resource:      group.WithResource("mutatingadmissionpolicies"),
		Kind:          "MutatingAdmissionPolicy",
		Singular:      "mutatingadmissionpolicy",
		Categories:    categories(),
		ClusterScoped: true,
		Object:        &admissionv1.MutatingAdmissionPolicy{},
		List:          &admissionv1.MutatingAdmissionPolicyList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default: func(p P) {
			setTo(&p.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatchResources(p.Spec.MatchConstraints)
		},
		Validate: func(_ context.Context, obj, old P) field.ErrorList { return c.validateMutating(obj, old) },
		Spec:     func(p P) any { return &p.Spec },
		Columns: []resource.Column[P]{
			{Name: "Mutations", Type: "integer", Help: "Mutation indicates the number of mutations rules defined in this configuration", Value: func(p P) any { return int64(len(p.Spec.Mutations)) }},
			{Name: "ParamKind", Type: "string", Help: "ParamKind specifies the kind of resources used to parameterize this policy", Value: func(p P) any { return kindOf(p.Spec.ParamKind) }},
		},
		NoUnconditionalUpdate: true,
	}
}

func kindOf(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

// validateSegment checks a required text that becomes a part of a URL's path.
func validateSegment(value string, at *field.Path) field.ErrorList {
	return validate.All(at, value, path.ValidatePathSegmentName(value, false))
}

// validateCommon checks what both kinds of policy have, up to the conditions.
func validateCommon(failure *admissionv1.FailurePolicyType, kind *admissionv1.ParamKind, match *admissionv1.MatchResources, at *field.Path) (errs field.ErrorList) {
	if failure == nil {
		errs = append(errs, field.Required(at.Child("failurePolicy"), ""))
	} else {
		errs = append(errs, validate.Enum(*failure, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	}
	if kind != nil {
		errs = append(errs, validateParamKind(kind, at.Child("paramKind"))...)
	}
	constraints := at.Child("matchConstraints")
	if match == nil {
		return append(errs, field.Required(constraints, ""))
	}
	errs = append(errs, validateMatchResources(match, constraints)...)
	if len(match.ResourceRules) == 0 {
		errs = append(errs, field.Required(constraints.Child("resourceRules"), ""))
	}
	return errs
}

func validateParamKind(k *admissionv1.ParamKind, at *field.Path) (errs field.ErrorList) {
	version, kind := at.Child("apiVersion"), at.Child("kind")
	if k.APIVersion == "" {
		errs = append(errs, field.Required(version, ""))
	} else if gv, err := schema.ParseGroupVersion(k.APIVersion); err != nil {
		errs = append(errs, field.Invalid(version, k.APIVersion, err.Error()))
	} else {
		if gv.Group != "" {
			if msgs := utilvalidation.IsDNS1123Subdomain(gv.Group); len(msgs) > 0 {
				errs = append(errs, field.Invalid(version, gv.Group, strings.Join(msgs, ",")))
			}
		}
		if gv.Version == "" {
			errs = append(errs, field.Invalid(version, k.APIVersion, "version must be specified"))
		} else if msgs := utilvalidation.IsDNS1035Label(gv.Version); len(msgs) > 0 {
			errs = append(errs, field.Invalid(version, gv.Version, strings.Join(msgs, ",")))
		}
	}
	if k.Kind == "" {
		return append(errs, field.Required(kind, ""))
	}
	if msgs := utilvalidation.IsDNS1035Label(strings.ToLower(k.Kind)); len(msgs) > 0 {
		errs = append(errs, field.Invalid(kind, k.Kind, fmt.Sprintf("may have mixed case, but should otherwise match: %s", strings.Join(msgs, ","))))
	}
	return errs
}

// validateMutable refuses to mutate on DELETE: there is nothing left to mutate.
func validateMutable(m *admissionv1.MatchResources, at *field.Path) (errs field.ErrorList) {
	for _, r := range m.ResourceRules {
		for _, o := range r.Operations {
			errs = append(errs, validate.Enum(o, at.Child("resourceRules", "operations"), admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update)...)
		}
	}
	return errs
}

func validateTypeChecking(c *admissionv1.TypeChecking, at *field.Path) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	for i, w := range c.ExpressionWarnings {
		errs = append(errs, validate.Required(w.Warning, at.Index(i).Child("warning"))...)
		ref, here := strings.TrimSpace(w.FieldRef), at.Index(i).Child("fieldRef")
		if ref == "" {
			errs = append(errs, field.Required(here, ""))
		} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
			errs = append(errs, field.Invalid(here, ref, fmt.Sprintf("invalid JSONPath: %v", err)))
		}
	}
	return errs
}
