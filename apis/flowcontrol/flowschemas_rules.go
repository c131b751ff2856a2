package flowcontrol

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateRule(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) (errs field.ErrorList) {
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, validateSubject(&r.Subjects[i], at.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range r.ResourceRules {
		errs = append(errs, validateResourceRule(&r.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range r.NonResourceRules {
		errs = append(errs, validateNonResourceRule(&r.NonResourceRules[i], at.Child("nonResourceRules").Index(i))...)
	}
	return errs
}

func validateSubject(s *flowcontrolv1.Subject, at *field.Path) (errs field.ErrorList) {
	account, user, group := at.Child("serviceAccount"), at.Child("user"), at.Child("group")
	switch s.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		errs = append(errs, validateAccount(s.ServiceAccount, account)...)
	case flowcontrolv1.SubjectKindUser:
		if s.User == nil {
			errs = append(errs, field.Required(user, "user is required when subject kind is 'User'"))
		} else {
			errs = append(errs, validate.Required(s.User.Name, user.Child("name"))...)
		}
	case flowcontrolv1.SubjectKindGroup:
		if s.Group == nil {
			errs = append(errs, field.Required(group, "group is required when subject kind is 'Group'"))
		} else {
			errs = append(errs, validate.Required(s.Group.Name, group.Child("name"))...)
		}
	default:
		return field.ErrorList{field.NotSupported(at.Child("kind"), s.Kind, []string{"Group", "ServiceAccount", "User"})}
	}
	if s.Kind != flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil {
		errs = append(errs, field.Forbidden(account, "serviceAccount is forbidden when subject kind is not 'ServiceAccount'"))
	}
	if s.Kind != flowcontrolv1.SubjectKindUser && s.User != nil {
		errs = append(errs, field.Forbidden(user, "user is forbidden when subject kind is not 'User'"))
	}
	if s.Kind != flowcontrolv1.SubjectKindGroup && s.Group != nil {
		errs = append(errs, field.Forbidden(group, "group is forbidden when subject kind is not 'Group'"))
	}
	return errs
}

func validateAccount(s *flowcontrolv1.ServiceAccountSubject, at *field.Path) (errs field.ErrorList) {
	if s == nil {
		return field.ErrorList{field.Required(at, "serviceAccount is required when subject kind is 'ServiceAccount'")}
	}
	switch {
	case s.Name == "":
		errs = append(errs, field.Required(at.Child("name"), ""))
	case s.Name != flowcontrolv1.NameAll:
		errs = append(errs, validate.All(at.Child("name"), s.Name, validation.ValidateServiceAccountName(s.Name, false))...)
	}
	if s.Namespace == "" {
		return append(errs, field.Required(at.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, validate.All(at.Child("namespace"), s.Namespace, validation.ValidateNamespaceName(s.Namespace, false))...)
}

func validateVerbs(verbs []string, at *field.Path) field.ErrorList {
	known := []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}
	if len(verbs) == 0 {
		return field.ErrorList{field.Required(at, "verbs must contain at least one value")}
	}
	if slices.Contains(verbs, flowcontrolv1.VerbAll) {
		return validateWhole(verbs, "verbs", at)
	}
	for _, v := range verbs {
		if !slices.Contains(known, v) {
			return field.ErrorList{field.NotSupported(at, any(verbs), known)}
		}
	}
	return nil
}

func validateResourceRule(r *flowcontrolv1.ResourcePolicyRule, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateVerbs(r.Verbs, at.Child("verbs"))...)
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	errs = append(errs, validateWhole(r.APIGroups, "api groups", at.Child("apiGroups"))...)
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	errs = append(errs, validateWhole(r.Resources, "resources", at.Child("resources"))...)
	namespaces := at.Child("namespaces")
	if len(r.Namespaces) == 0 && !r.ClusterScope {
		errs = append(errs, field.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace"))
	}
	if slices.Contains(r.Namespaces, flowcontrolv1.NamespaceEvery) {
		return append(errs, validateWhole(r.Namespaces, "namespaces", namespaces)...)
	}
	for i, ns := range r.Namespaces {
		for _, msg := range utilvalidation.IsDNS1123Label(ns) {
			errs = append(errs, field.Invalid(namespaces.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+msg))
		}
	}
	return errs
}

func validateNonResourceRule(r *flowcontrolv1.NonResourcePolicyRule, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateVerbs(r.Verbs, at.Child("verbs"))...)
	urls := at.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		errs = append(errs, field.Required(urls, "nonResourceURLs must contain at least one value"))
	case slices.Contains(r.NonResourceURLs, "*"):
		errs = append(errs, validateWhole(r.NonResourceURLs, "non-resource URLs", urls)...)
	default:
		for i, u := range r.NonResourceURLs {
			errs = append(errs, validateURL(u, urls.Index(i))...)
		}
	}
	return errs
}

func validateURL(u string, at *field.Path) field.ErrorList {
	stars := strings.Count(u, "*")
	for _, rule := range []struct {
		bad  bool
		text string
	}{
		{u == "", "must not be empty"},
		{!strings.HasPrefix(u, "/"), "must start with slash"},
		{strings.Contains(u, " "), "must not contain white-space"},
		{strings.Contains(u, "//"), "must not contain double slash"},
		{stars > 1 || (stars == 1 && !strings.HasSuffix(u, "/*")), "wildcard can only do suffix matching"},
	} {
		if rule.bad {
			return field.ErrorList{field.Invalid(at, u, rule.text)}
		}
	}
	return nil
}

// mustBePositive is the text for numbers that count something there must be.
func mustBePositive(n int32, at *field.Path) field.ErrorList {
	if n > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, "must be positive")}
}
