package rbac

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

func roles(g guard) resource.Definition[*rbacv1.Role] {
	return resource.Definition[*rbacv1.Role]{
		Resource: group.WithResource("roles"),
		Kind:     "Role",
		Singular: "role",
		Object:   &rbacv1.Role{},
		List:     &rbacv1.RoleList{},
		Register: register,
		Name:     path.ValidatePathSegmentName,
		Validate: validateRole,
		Main: func(e *resource.Endpoint) rest.Storage {
			return guarded[*rbacv1.Role]{e, g, grantedByRole}
		},
	}
}

func clusterRoles(g guard) resource.Definition[*rbacv1.ClusterRole] {
	return resource.Definition[*rbacv1.ClusterRole]{
		Resource:      group.WithResource("clusterroles"),
		Kind:          "ClusterRole",
		Singular:      "clusterrole",
		ClusterScoped: true,
		Object:        &rbacv1.ClusterRole{},
		List:          &rbacv1.ClusterRoleList{},
		Register:      register,
		Name:          path.ValidatePathSegmentName,
		Validate:      validateClusterRole,
		Main: func(e *resource.Endpoint) rest.Storage {
			return guarded[*rbacv1.ClusterRole]{e, g, grantedByClusterRole}
		},
	}
}

func validateRole(_ context.Context, obj, _ *rbacv1.Role) (errs field.ErrorList) {
	for i, rule := range obj.Rules {
		errs = append(errs, validateRule(rule, true, field.NewPath("rules").Index(i))...)
	}
	return errs
}

func validateClusterRole(_ context.Context, obj, _ *rbacv1.ClusterRole) (errs field.ErrorList) {
	for i, rule := range obj.Rules {
		errs = append(errs, validateRule(rule, false, field.NewPath("rules").Index(i))...)
	}
	if obj.AggregationRule == nil {
		return errs
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(obj.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range obj.AggregationRule.ClusterRoleSelectors {
		selector := &obj.AggregationRule.ClusterRoleSelectors[i]
		errs = append(errs, metavalidation.ValidateLabelSelector(selector, metavalidation.LabelSelectorValidationOptions{}, at.Index(i))...)
		if parsed, err := metav1.LabelSelectorAsSelector(selector); err != nil {
			errs = append(errs, field.Invalid(at.Index(i), parsed, "invalid label selector."))
		}
	}
	return errs
}

// validateRule checks one rule; that it has verbs is declared by its type.
func validateRule(rule rbacv1.PolicyRule, namespaced bool, at *field.Path) (errs field.ErrorList) {
	urls := at.Child("nonResourceURLs")
	if len(rule.NonResourceURLs) > 0 {
		if namespaced {
			errs = append(errs, field.Invalid(urls, rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(rule.APIGroups)+len(rule.Resources)+len(rule.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(urls, rule.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(rule.APIGroups) == 0 {
		errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(rule.Resources) == 0 {
		errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}
