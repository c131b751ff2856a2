package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// allows reports whether one rule covers the whole request.
func allows(a authorizer.Attributes, rule *rbacv1.PolicyRule) bool {
	if !has(rule.Verbs, a.GetVerb()) {
		return false
	}
	if !a.IsResourceRequest() {
		return coversURL(rule.NonResourceURLs, a.GetPath())
	}
	return has(rule.APIGroups, a.GetAPIGroup()) &&
		coversResource(rule.Resources, a.GetResource(), a.GetSubresource()) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.GetName()))
}

func has(list []string, want string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, want)
}

// coversResource knows three forms: "*", "plural" or "plural/sub", and "*/sub".
func coversResource(rules []string, resource, sub string) bool {
	full := resource
	if sub != "" {
		full += "/" + sub
	}
	return slices.ContainsFunc(rules, func(r string) bool {
		return r == "*" || r == full || (sub != "" && r == "*/"+sub)
	})
}

// coversURL knows "*", exact paths, and prefixes that end in "*".
func coversURL(rules []string, path string) bool {
	return slices.ContainsFunc(rules, func(r string) bool {
		if prefix, ok := strings.CutSuffix(r, "*"); ok {
			return strings.HasPrefix(path, prefix)
		}
		return r == path
	})
}

// Allows reports whether any of the rules covers the request.
func Allows(a authorizer.Attributes, rules []rbacv1.PolicyRule) bool {
	for i := range rules {
		if allows(a, &rules[i]) {
			return true
		}
	}
	return false
}
