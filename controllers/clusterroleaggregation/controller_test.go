package clusterroleaggregation

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRules(t *testing.T) {
	role := func(name, label string, verbs ...string) *rbacv1.ClusterRole {
		r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "true"}}}
		for _, v := range verbs {
			r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{v}})
		}
		return r
	}
	whole := role("admin", "to-admin", "itself")
	whole.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to-admin": "true"}}, {MatchLabels: map[string]string{"extra": "true"}}}}
	rules, err := Rules(whole, []*rbacv1.ClusterRole{role("c", "extra", "watch"), role("b", "to-admin", "list", "get"), whole, role("a", "to-admin", "get"), role("d", "to-edit", "delete")})
	got := ""
	for _, r := range rules {
		got += r.Verbs[0] + " "
	}
	if err != nil || got != "get list watch " {
		t.Errorf("got %q, %v", got, err)
	}
}
