package admissionregistration

import (
	"context"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func validatingAdmissionPolicyBindings() resource.Definition[*admissionv1.ValidatingAdmissionPolicyBinding] {
	type B = *admissionv1.ValidatingAdmissionPolicyBinding
	return resource.Definition[B]{
		Resource:      group.WithResource("validatingadmissionpolicybindings"),
		Kind:          "ValidatingAdmissionPolicyBinding",
		Singular:      "validatingadmissionpolicybinding",
		Categories:    categories(),
		ClusterScoped: true,
		Object:        &admissionv1.ValidatingAdmissionPolicyBinding{},
		List:          &admissionv1.ValidatingAdmissionPolicyBindingList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default:       func(b B) { defaultMatchResources(b.Spec.MatchResources) },
		Validate: func(_ context.Context, obj, _ B) field.ErrorList {
			at, s := field.NewPath("spec"), &obj.Spec
			errs := validateBinding(s.PolicyName, s.ParamRef, s.MatchResources, at)
			return append(errs, validateActions(s.ValidationActions, at.Child("validationActions"))...)
		},
		Spec: func(b B) any { return &b.Spec },
		Columns: []resource.Column[B]{
			{Name: "PolicyName", Type: "string", Help: "PolicyName indicates the policy definition which the policy binding binded to", Value: func(b B) any { return b.Spec.PolicyName }},
			{Name: "ParamRef", Type: "string", Help: "ParamRef indicates the param resource which sets the configuration param", Value: func(b B) any { return paramOf(b.Spec.ParamRef) }},
		},
		NoUnconditionalUpdate: true,
	}
}

func mutatingAdmissionPolicyBindings() resource.Definition[*admissionv1.MutatingAdmissionPolicyBinding] {
	type B = *admissionv1.MutatingAdmissionPolicyBinding
	return resource.Definition[B]{
		Resource:      group.WithResource("mutatingadmissionpolicybindings"),
		Kind:          "MutatingAdmissionPolicyBinding",
		Singular:      "mutatingadmissionpolicybinding",
		Categories:    categories(),
		ClusterScoped: true,
		Object:        &admissionv1.MutatingAdmissionPolicyBinding{},
		List:          &admissionv1.MutatingAdmissionPolicyBindingList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default:       func(b B) { defaultMatchResources(b.Spec.MatchResources) },
		Validate: func(_ context.Context, obj, _ B) field.ErrorList {
			at, s := field.NewPath("spec"), &obj.Spec
			errs := validateBinding(s.PolicyName, s.ParamRef, s.MatchResources, at)
			if s.MatchResources != nil {
				errs = append(errs, validateMutable(s.MatchResources, at.Child("matchResources"))...)
			}
			return errs
		},
		Spec: func(b B) any { return &b.Spec },
		Columns: []resource.Column[B]{
			{Name: "PolicyName", Type: "string", Help: "PolicyName indicates the policy definition which the policy binding binded to", Value: func(b B) any { return b.Spec.PolicyName }},
			{Name: "ParamRef", Type: "string", Help: "ParamRef indicates the param resource which sets the configuration param", Value: func(b B) any { return paramOf(b.Spec.ParamRef) }},
		},
		NoUnconditionalUpdate: true,
	}
}

func paramOf(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return "<unset>"
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return r.Selector.String()
	}
	return "<unset>"
}

func validateBinding(policy string, param *admissionv1.ParamRef, match *admissionv1.MatchResources, at *field.Path) (errs field.ErrorList) {
	if policy == "" {
		errs = append(errs, field.Required(at.Child("policyName"), "").MarkCoveredByDeclarative())
	} else {
		errs = append(errs, validate.All(at.Child("policyName"), policy, validation.NameIsDNSSubdomain(policy, false))...)
	}
	if param != nil {
		errs = append(errs, validateParam(param, at.Child("paramRef"))...)
	}
	if match != nil {
		errs = append(errs, validateMatchResources(match, at.Child("matchResources"))...)
	}
	return errs
}

func validateParam(r *admissionv1.ParamRef, at *field.Path) (errs field.ErrorList) {
	if r.Name != "" {
		errs = append(errs, validateSegment(r.Name, at.Child("name"))...)
		if r.Selector != nil {
			errs = append(errs, field.Forbidden(at.Child("name"), "name and selector are mutually exclusive"))
		}
	}
	if r.Selector != nil {
		errs = append(errs, validateSelector(r.Selector, at.Child("selector"))...)
		if r.Name != "" {
			errs = append(errs, field.Forbidden(at.Child("selector"), "name and selector are mutually exclusive"))
		}
	}
	if r.Name == "" && r.Selector == nil {
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	if a := r.ParameterNotFoundAction; a == nil || *a == "" {
		errs = append(errs, field.Required(at.Child("parameterNotFoundAction"), ""))
	} else {
		errs = append(errs, validate.Enum(*a, at.Child("parameterNotFoundAction"), admissionv1.DenyAction, admissionv1.AllowAction)...)
	}
	return errs
}

func validateActions(actions []admissionv1.ValidationAction, at *field.Path) (errs field.ErrorList) {
	for i, a := range actions {
		errs = append(errs, validate.Enum(a, at.Index(i), admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)...)
		if slices.Contains(actions[:i], a) {
			errs = append(errs, field.Duplicate(at.Index(i), a))
		}
	}
	if slices.Contains(actions, admissionv1.Deny) && slices.Contains(actions, admissionv1.Warn) {
		errs = append(errs, field.Invalid(at, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}
