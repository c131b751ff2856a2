// Package clusterroleaggregation fills ClusterRoles that are made up of others, by label.
package clusterroleaggregation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	applyrbac "k8s.io/client-go/applyconfigurations/rbac/v1"
	listers "k8s.io/client-go/listers/rbac/v1"

	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env   controller.Env
	roles listers.ClusterRoleLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	roles := env.Informers.Rbac().V1().ClusterRoles()
	r := &reconciler{env: env, roles: roles.Lister()}
	return controller.Spec{
		Name: "clusterroleaggregation", Reconcile: r.reconcile,
		Watches: []controller.Watch{{Informer: roles.Informer(), Keys: r.aggregates}},
	}, nil
}

// aggregates answers every role that is made up of others: which of them contain the changed one is theirs to find.
func (r *reconciler) aggregates(_, _ metav1.Object) []controller.Key {
	all, err := r.roles.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, role := range all {
		if role.AggregationRule != nil {
			keys = append(keys, controller.Key{Name: role.Name})
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	role, err := r.roles.Get(key.Name)
	if apierrors.IsNotFound(err) || (err == nil && role.AggregationRule == nil) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading cluster role: %w", err)
	}
	all, err := r.roles.List(labels.Everything())
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing cluster roles: %w", err)
	}
	rules, err := Rules(role, all)
	if err != nil || equality.Semantic.DeepEqual(rules, role.Rules) {
		return controller.Result{}, err
	}
	return controller.Result{}, r.write(ctx, role, rules)
}

func (r *reconciler) write(ctx context.Context, role *rbacv1.ClusterRole, rules []rbacv1.PolicyRule) error {
	wanted := applyrbac.ClusterRole(role.Name)
	for i := range rules {
		wanted = wanted.WithRules(applyRule(&rules[i]))
	}
	options := metav1.ApplyOptions{FieldManager: "clusterrole-aggregation-controller", Force: true}
	if _, err := r.env.Client.RbacV1().ClusterRoles().Apply(ctx, wanted, options); err != nil {
		return fmt.Errorf("writing rules: %w", err)
	}
	return nil
}

func applyRule(rule *rbacv1.PolicyRule) *applyrbac.PolicyRuleApplyConfiguration {
	return applyrbac.PolicyRule().WithVerbs(rule.Verbs...).WithAPIGroups(rule.APIGroups...).WithResources(rule.Resources...).
		WithResourceNames(rule.ResourceNames...).WithNonResourceURLs(rule.NonResourceURLs...)
}

// Rules answers the rules of a role that is made up of others: theirs, each once, selector by selector and in the order
// of the roles' names.
func Rules(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.SortedFunc(slices.Values(all), func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("reading selector %d: %w", i, err)
		}
		for _, part := range all {
			if part.Name == role.Name || !selector.Matches(labels.Set(part.Labels)) {
				continue
			}
			for _, rule := range part.Rules {
				if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
