package rbac

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Authorizer decides requests by an Evaluator.
type Authorizer struct{ Evaluator *Evaluator }

var (
	_ authorizer.Authorizer   = Authorizer{}
	_ authorizer.RuleResolver = Authorizer{}
)

// Authorize implements authorizer.Authorizer. Roles only ever allow.
func (z Authorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	var why *grant
	err := z.Evaluator.visit(ctx, a.GetUser(), a.GetNamespace(), func(g grant, r *rbacv1.PolicyRule) bool {
		if allows(a, r) {
			why = &g
		}
		return why == nil
	})
	if why != nil {
		return authorizer.DecisionAllow, "RBAC: allowed by " + why.describe(a.GetUser()), nil
	}
	reason := ""
	if err != nil {
		reason = fmt.Sprintf("RBAC: %v", err)
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer: RBAC knows no conditions.
func (z Authorizer) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(z.Authorize(ctx, a))
}

// EvaluateConditions implements authorizer.Authorizer.
func (z Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor implements authorizer.RuleResolver.
func (z Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := z.Evaluator.RulesFor(ctx, u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	for _, r := range rules {
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames,
			})
		}
		if len(r.NonResourceURLs) > 0 {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, urls, false, err
}

// grant is the binding by which a rule applies.
type grant struct {
	kind     string
	meta     metav1.ObjectMeta
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
}

// describe says which binding grants what to which of its subjects.
func (g grant) describe(u user.Info) string {
	name := g.meta.Name
	if g.meta.Namespace != "" {
		name += "/" + g.meta.Namespace
	}
	to := ""
	keys := subjectKeys(u)
	for _, s := range g.subjects {
		if slices.Contains(keys, keyOf(s, g.meta.Namespace)) {
			to = describeSubject(s, g.meta.Namespace)
			break
		}
	}
	return fmt.Sprintf("%s %q of %s %q to %s", g.kind, name, g.ref.Kind, g.ref.Name, to)
}

func describeSubject(s rbacv1.Subject, namespace string) string {
	if s.Kind != rbacv1.ServiceAccountKind {
		return fmt.Sprintf("%s %q", s.Kind, s.Name)
	}
	if s.Namespace != "" {
		namespace = s.Namespace
	}
	return fmt.Sprintf("%s %q", s.Kind, s.Name+"/"+namespace)
}
