package bootstrap

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// frozen reports whether the operator has taken the object over.
func frozen(o metav1.Object) bool {
	return o.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false"
}

// addMeta adds missing labels and annotations; values that exist stay.
func addMeta(have, want metav1.Object) bool {
	labels, a := addMissing(have.GetLabels(), want.GetLabels())
	annotations, b := addMissing(have.GetAnnotations(), want.GetAnnotations())
	have.SetLabels(labels)
	have.SetAnnotations(annotations)
	return a || b
}

func addMissing(have, want map[string]string) (map[string]string, bool) {
	changed := false
	for k, v := range want {
		if _, ok := have[k]; ok {
			continue
		}
		if have == nil {
			have = map[string]string{}
		}
		have[k], changed = v, true
	}
	return have, changed
}

func addRules(have *[]rbacv1.PolicyRule, want []rbacv1.PolicyRule) bool {
	_, missing := validation.Covers(*have, want)
	*have = append(*have, missing...)
	return len(missing) > 0
}

func addSubjects(have *[]rbacv1.Subject, want []rbacv1.Subject) bool {
	changed := false
	for _, s := range want {
		if !slices.Contains(*have, s) {
			*have, changed = append(*have, s), true
		}
	}
	return changed
}

func changeClusterRole(have, want *rbacv1.ClusterRole) (*rbacv1.ClusterRole, bool) {
	if frozen(have) {
		return nil, false
	}
	changed := addMeta(have, want)
	if want.AggregationRule == nil {
		return have, addRules(&have.Rules, want.Rules) || changed
	}
	if have.AggregationRule == nil {
		have.AggregationRule = &rbacv1.AggregationRule{}
	}
	for _, s := range want.AggregationRule.ClusterRoleSelectors {
		if !slices.ContainsFunc(have.AggregationRule.ClusterRoleSelectors, func(x metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(x, s) }) {
			have.AggregationRule.ClusterRoleSelectors = append(have.AggregationRule.ClusterRoleSelectors, s)
			changed = true
		}
	}
	return have, changed
}

func changeRole(have, want *rbacv1.Role) (*rbacv1.Role, bool) {
	if frozen(have) {
		return nil, false
	}
	changed := addMeta(have, want)
	return have, addRules(&have.Rules, want.Rules) || changed
}

// changeClusterRoleBinding adds subjects. A binding to another role is left to
// its owner: the reference can't be changed.
func changeClusterRoleBinding(have, want *rbacv1.ClusterRoleBinding) (*rbacv1.ClusterRoleBinding, bool) {
	if frozen(have) || have.RoleRef != want.RoleRef {
		return nil, false
	}
	changed := addMeta(have, want)
	return have, addSubjects(&have.Subjects, want.Subjects) || changed
}

func changeRoleBinding(have, want *rbacv1.RoleBinding) (*rbacv1.RoleBinding, bool) {
	if frozen(have) || have.RoleRef != want.RoleRef {
		return nil, false
	}
	changed := addMeta(have, want)
	return have, addSubjects(&have.Subjects, want.Subjects) || changed
}
