package rbac

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"

	"skiff/apis/resource"
)

// held answers the same rules for everybody, and one for every role.
type held struct{ rules, role []rbacv1.PolicyRule }

func (h held) RulesFor(context.Context, user.Info, string) ([]rbacv1.PolicyRule, error) {
	return h.rules, nil
}

func (h held) GetRoleReferenceRules(context.Context, rbacv1.RoleRef, string) ([]rbacv1.PolicyRule, error) {
	return h.role, nil
}

// may allows the verbs on roles.
type may []string

func (m may) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	for _, verb := range m {
		if a.GetVerb() == verb && strings.HasSuffix(a.GetResource(), "roles") {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func rule(verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{""}, Resources: []string{"pods"}}
}

func as(groups ...string) context.Context {
	ctx := genericrequest.WithUser(context.Background(), &user.DefaultInfo{Name: "alice", Groups: groups})
	return genericrequest.WithNamespace(ctx, "default")
}

func TestEscalation(t *testing.T) {
	endpoint := &resource.Endpoint{Store: &registry.Store{DefaultQualifiedResource: schema.GroupResource{Group: rbacv1.GroupName, Resource: "roles"}}}
	all := []rbacv1.PolicyRule{rule("get", "list", "delete")}
	for name, c := range map[string]struct {
		ctx   context.Context
		verbs may
		held  []rbacv1.PolicyRule
		bind  bool
		want  string // part of the refusal
	}{
		"holds all":         {as(), nil, all, false, ""},
		"holds some":        {as("dev"), nil, []rbacv1.PolicyRule{rule("get")}, false, `user "alice" (groups=["dev"]) is attempting to grant RBAC permissions not currently held:` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["list" "delete"]}`},
		"is a master":       {as(user.SystemPrivilegedGroup), nil, nil, false, ""},
		"may escalate":      {as(), may{"escalate"}, nil, false, ""},
		"bind is not that":  {as(), may{"bind"}, nil, false, "not currently held"},
		"may bind":          {as(), may{"bind"}, nil, true, ""},
		"escalate no bind":  {as(), may{"escalate"}, nil, true, "not currently held"},
		"binds what it has": {as(), nil, all, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := guard{Authorizer: c.verbs, Rules: held{c.held, all}}
			var err error
			if c.bind {
				err = guarded[*rbacv1.RoleBinding]{endpoint, g, grantedByRoleBinding}.allow(c.ctx, &rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}})
			} else {
				err = guarded[*rbacv1.Role]{endpoint, g, grantedByRole}.allow(c.ctx, &rbacv1.Role{Rules: all})
			}
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAggregationCostsEverything(t *testing.T) {
	g := grantedByClusterRole(&rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{}})
	if len(g.rules) != 2 || g.rules[0].Resources[0] != "*" || g.rules[1].NonResourceURLs[0] != "*" {
		t.Fatalf("got %v", g.rules)
	}
}

func TestValidate(t *testing.T) {
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	for name, c := range map[string]struct {
		got  error
		want string
	}{
		"rule with both": {validateClusterRole(context.Background(), &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}, Resources: []string{"pods"}}}}, nil).ToAggregate(), "cannot apply to both"},
		"namespaced url": {validateRole(context.Background(), &rbacv1.Role{Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/x"}}}}, nil).ToAggregate(), "namespaced rules cannot apply"},
		"role cluster":   {validateBinding(rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "r"}, nil, false).ToAggregate(), `supported values: "ClusterRole"`},
		"account":        {validateBinding(ref, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "a"}}, false).ToAggregate(), "subjects[0].namespace: Required value"},
		"other role":     {validateSameRole(ref, rbacv1.RoleRef{}).ToAggregate(), `{"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"view"}: field is immutable`},
	} {
		if c.got == nil || !strings.Contains(c.got.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, c.got, c.want)
		}
	}
}
