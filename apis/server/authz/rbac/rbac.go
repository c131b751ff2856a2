// Package rbac decides by the roles and bindings of rbac.authorization.k8s.io,
// read from informers. Bindings are indexed by subject, so a decision looks only
// at the bindings of the caller. A ClusterRole with an aggregation rule means
// the union of the roles it selects, at the moment of the decision.
package rbac

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	informers "k8s.io/client-go/informers/rbac/v1"
	listers "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
)

// Evaluator answers what a user may do, as policy rules.
type Evaluator struct {
	roles           listers.RoleLister
	clusterRoles    listers.ClusterRoleLister
	bindings        cache.Indexer
	clusterBindings cache.Indexer
}

// NewEvaluator registers the four informers; their owner starts them.
func NewEvaluator(i informers.Interface) (*Evaluator, error) {
	e := &Evaluator{
		roles: i.Roles().Lister(), clusterRoles: i.ClusterRoles().Lister(),
		bindings: i.RoleBindings().Informer().GetIndexer(), clusterBindings: i.ClusterRoleBindings().Informer().GetIndexer(),
	}
	for _, indexer := range []cache.Indexer{e.bindings, e.clusterBindings} {
		if _, ok := indexer.GetIndexers()[subjectIndex]; ok {
			continue // another evaluator on the same informers
		}
		if err := indexer.AddIndexers(cache.Indexers{subjectIndex: subjectsOf}); err != nil {
			return nil, fmt.Errorf("indexing bindings: %w", err)
		}
	}
	return e, nil
}

// visit calls fn with every rule that applies to the user in the namespace (""
// is cluster-wide only), and why, until fn returns false. The errors name
// bindings whose role doesn't exist.
func (e *Evaluator) visit(ctx context.Context, u user.Info, namespace string, fn func(grant, *rbacv1.PolicyRule) bool) error {
	var errs []error
	more := true
	each := func(g grant, rules []rbacv1.PolicyRule, err error) {
		if err != nil {
			errs = append(errs, err)
		}
		for i := range rules {
			if more = fn(g, &rules[i]); !more {
				return
			}
		}
	}
	for _, key := range subjectKeys(u) {
		for _, o := range lookup(e.clusterBindings, key) {
			b := o.(*rbacv1.ClusterRoleBinding)
			rules, err := e.clusterRules(b.RoleRef.Name)
			each(grant{"ClusterRoleBinding", b.ObjectMeta, b.RoleRef, b.Subjects}, rules, err)
			if !more {
				return nil
			}
		}
	}
	if namespace == "" {
		return utilerrors.NewAggregate(errs)
	}
	for _, key := range subjectKeys(u) {
		for _, o := range lookup(e.bindings, inNamespace(namespace, key)) {
			b := o.(*rbacv1.RoleBinding)
			rules, err := e.GetRoleReferenceRules(ctx, b.RoleRef, namespace)
			each(grant{"RoleBinding", b.ObjectMeta, b.RoleRef, b.Subjects}, rules, err)
			if !more {
				return nil
			}
		}
	}
	return utilerrors.NewAggregate(errs)
}

// GetRoleReferenceRules answers the rules of a role.
func (e *Evaluator) GetRoleReferenceRules(_ context.Context, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		role, err := e.roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "ClusterRole":
		return e.clusterRules(ref.Name)
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

func (e *Evaluator) clusterRules(name string) ([]rbacv1.PolicyRule, error) {
	role, err := e.clusterRoles.Get(name)
	if err != nil {
		return nil, err
	}
	if role.AggregationRule == nil {
		return role.Rules, nil
	}
	return e.aggregate(role, map[string]bool{})
}

// aggregate is the union of the roles an aggregated role selects, which may be
// aggregated themselves (admin selects edit, which selects view). seen ends cycles.
func (e *Evaluator) aggregate(role *rbacv1.ClusterRole, seen map[string]bool) ([]rbacv1.PolicyRule, error) {
	if seen[role.Name] {
		return nil, nil
	}
	seen[role.Name] = true
	if role.AggregationRule == nil {
		return role.Rules, nil
	}
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return rules, fmt.Errorf("aggregation rule of cluster role %q: %w", role.Name, err)
		}
		selected, err := e.clusterRoles.List(selector)
		if err != nil {
			return rules, err
		}
		for _, r := range selected {
			more, err := e.aggregate(r, seen)
			rules = append(rules, more...)
			if err != nil {
				return rules, err
			}
		}
	}
	return rules, nil
}

// RulesFor answers what u may do in namespace ("" is the whole cluster).
func (e *Evaluator) RulesFor(ctx context.Context, u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	err := e.visit(ctx, u, namespace, func(_ grant, r *rbacv1.PolicyRule) bool {
		rules = append(rules, *r)
		return true
	})
	return rules, err
}
