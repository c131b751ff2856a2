package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
}

func validateOperationsRule(r *admissionv1.RuleWithOperations, at *field.Path) (errs field.ErrorList) {
	operations := at.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(operations, ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(operations, r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, o := range r.Operations {
		errs = append(errs, validate.Enum(o, operations.Index(i), admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)...)
	}
	return append(errs, validateRule(&r.Rule, at)...)
}

func validateRule(r *admissionv1.Rule, at *field.Path) (errs field.ErrorList) {
	groups, versions, resources := at.Child("apiGroups"), at.Child("apiVersions"), at.Child("resources")
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(groups, ""))
	}
	if len(r.APIGroups) > 1 && slices.Contains(r.APIGroups, "*") {
		errs = append(errs, field.Invalid(groups, r.APIGroups, "if '*' is present, must not specify other API groups"))
	}
	if len(r.APIVersions) == 0 {
		errs = append(errs, field.Required(versions, ""))
	}
	if len(r.APIVersions) > 1 && slices.Contains(r.APIVersions, "*") {
		errs = append(errs, field.Invalid(versions, r.APIVersions, "if '*' is present, must not specify other API versions"))
	}
	for i, v := range r.APIVersions {
		errs = append(errs, validate.Required(v, versions.Index(i))...)
	}
	errs = append(errs, validateResources(r.Resources, resources)...)
	if r.Scope != nil {
		errs = append(errs, validate.Enum(*r.Scope, at.Child("scope"), admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)...)
	}
	return errs
}

// validateResources refuses names that a wildcard beside them covers already.
func validateResources(resources []string, at *field.Path) (errs field.ErrorList) {
	if len(resources) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	whole, everywhere := map[string]bool{}, map[string]bool{}
	all, allPlain, plain := false, false, false
	for i, r := range resources {
		if r == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		}
		all, allPlain = all || r == "*/*", allPlain || r == "*"
		name, sub, ok := strings.Cut(r, "/")
		if !ok {
			plain = plain || r != "*"
			continue
		}
		if whole[name] {
			errs = append(errs, field.Invalid(at.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, r)))
		}
		if everywhere[sub] {
			errs = append(errs, field.Invalid(at.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		if sub == "*" {
			whole[name] = true
		}
		if name == "*" {
			everywhere[sub] = true
		}
	}
	if len(resources) > 1 && all {
		errs = append(errs, field.Invalid(at, resources, "if '*/*' is present, must not specify other resources"))
	}
	if allPlain && plain {
		errs = append(errs, field.Invalid(at, resources, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

func validateMatchResources(m *admissionv1.MatchResources, at *field.Path) (errs field.ErrorList) {
	if m.NamespaceSelector == nil {
		errs = append(errs, field.Required(at.Child("namespaceSelector"), ""))
	} else {
		errs = append(errs, validateSelector(m.NamespaceSelector, at.Child("namespaceSelector"))...)
	}
	if m.ObjectSelector == nil {
		errs = append(errs, field.Required(at.Child("objectSelector"), ""))
	} else {
		errs = append(errs, validateSelector(m.ObjectSelector, at.Child("objectSelector"))...)
	}
	for i := range m.ResourceRules {
		errs = append(errs, validateNamedRule(&m.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range m.ExcludeResourceRules {
		errs = append(errs, validateNamedRule(&m.ExcludeResourceRules[i], at.Child("excludeResourceRules").Index(i))...)
	}
	if m.MatchPolicy != nil {
		errs = append(errs, validate.Enum(*m.MatchPolicy, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact)...)
	}
	return errs
}

func validateNamedRule(r *admissionv1.NamedRuleWithOperations, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateOperationsRule(&r.RuleWithOperations, at)...)
	for i, name := range r.ResourceNames {
		here := at.Child("resourceNames").Index(i)
		errs = append(errs, validate.All(here, name, path.ValidatePathSegmentName(name, false))...)
		if slices.Contains(r.ResourceNames[:i], name) {
			errs = append(errs, field.Duplicate(here, name))
		}
	}
	return errs
}

func defaultMatchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	setTo(&m.MatchPolicy, admissionv1.Equivalent)
	setTo(&m.NamespaceSelector, metav1.LabelSelector{})
	setTo(&m.ObjectSelector, metav1.LabelSelector{})
	for i := range m.ResourceRules {
		setTo(&m.ResourceRules[i].Scope, admissionv1.AllScopes)
	}
	for i := range m.ExcludeResourceRules {
		setTo(&m.ExcludeResourceRules[i].Scope, admissionv1.AllScopes)
	}
}
