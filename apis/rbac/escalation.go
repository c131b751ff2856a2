package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/component-helpers/auth/rbac/validation"

	"skiff/apis/resource"
	"skiff/apis/same"
)

// RuleResolver finds the rules in force. Both methods may answer rules together
// with an error: what they could find.
type RuleResolver interface {
	// RulesFor answers what u may do in namespace ("" is the whole cluster).
	RulesFor(ctx context.Context, u user.Info, namespace string) ([]rbacv1.PolicyRule, error)
	// GetRoleReferenceRules answers the rules of a role.
	GetRoleReferenceRules(ctx context.Context, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error)
}

// guard decides whether a caller may grant rules.
type guard Deps

// grant is what writing an object gives to others: rules, or the role whose
// rules it gives.
type grant struct {
	rules []rbacv1.PolicyRule
	role  *rbacv1.RoleRef
	ref   rbacv1.RoleRef // the role itself, as the object of escalate and bind
}

// all is every permission there is: the price of writing an aggregation rule.
func all() []rbacv1.PolicyRule {
	star := []string{"*"}
	return []rbacv1.PolicyRule{
		{Verbs: star, APIGroups: star, Resources: star},
		{Verbs: star, NonResourceURLs: star},
	}
}

func grantedByRole(r *rbacv1.Role) grant {
	return grant{rules: r.Rules, ref: rbacv1.RoleRef{Kind: "Role", Name: r.Name}}
}

func grantedByClusterRole(r *rbacv1.ClusterRole) grant {
	g := grant{rules: r.Rules, ref: rbacv1.RoleRef{Kind: "ClusterRole", Name: r.Name}}
	if r.AggregationRule != nil {
		g.rules = all()
	}
	return g
}

func grantedByRoleBinding(b *rbacv1.RoleBinding) grant {
	return grant{role: &b.RoleRef, ref: b.RoleRef}
}

func grantedByClusterRoleBinding(b *rbacv1.ClusterRoleBinding) grant {
	return grant{role: &b.RoleRef, ref: b.RoleRef}
}

// guarded is a store that refuses to let callers grant more than they hold.
type guarded[T resource.Object] struct {
	*resource.Endpoint
	guard   guard
	granted func(T) grant
}

// Create implements rest.Creater.
func (e guarded[T]) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	obj, ok := o.(T)
	if !ok {
		return nil, fmt.Errorf("creating %s: got %T", e.DefaultQualifiedResource, o)
	}
	if err := e.allow(ctx, obj); err != nil {
		return nil, err
	}
	return e.Endpoint.Create(ctx, o, validate, options)
}

// Update implements rest.Updater.
func (e guarded[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, cv rest.ValidateObjectFunc, uv rest.ValidateObjectUpdateFunc, create bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	checked := rest.WrapUpdatedObjectInfo(info, func(ctx context.Context, o, oldObj runtime.Object) (runtime.Object, error) {
		if same.ButForCollector(o, oldObj) {
			return o, nil
		}
		return o, e.allow(ctx, o.(T))
	})
	return e.Endpoint.Update(ctx, name, checked, cv, uv, create, options)
}

func (e guarded[T]) allow(ctx context.Context, obj T) error {
	g := e.granted(obj)
	if trusted(ctx) {
		return nil
	}
	namespace, _ := genericrequest.NamespaceFrom(ctx)
	verb := "bind"
	if g.role == nil {
		verb, g.ref.Name = "escalate", "" // of the name in the request, which has none to create
		if info, ok := genericrequest.RequestInfoFrom(ctx); ok {
			g.ref.Name = info.Name
		}
	}
	if e.guard.authorized(ctx, verb, g.ref, namespace) {
		return nil
	}
	rules := g.rules
	if g.role != nil {
		var err error
		rules, err = e.guard.Rules.GetRoleReferenceRules(ctx, *g.role, namespace)
		if apierrors.IsNotFound(err) {
			return apierrors.NewNotFound(e.DefaultQualifiedResource, g.role.Name)
		}
		if err != nil {
			return err
		}
	}
	if err := e.guard.confirm(ctx, rules); err != nil {
		return apierrors.NewForbidden(e.DefaultQualifiedResource, obj.GetName(), err)
	}
	return nil
}

// trusted reports whether the caller may do anything anyway.
func trusted(ctx context.Context) bool {
	u, ok := genericrequest.UserFrom(ctx)
	return ok && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup)
}

// authorized asks whether the caller may use verb on the role itself.
func (g guard) authorized(ctx context.Context, verb string, ref rbacv1.RoleRef, namespace string) bool {
	u, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return false
	}
	attrs := authorizer.AttributesRecord{
		User: u, Verb: verb, Namespace: namespace, Name: ref.Name, ResourceRequest: true,
		APIGroup: rbacv1.GroupName, APIVersion: "*", Resource: strings.ToLower(ref.Kind) + "s",
	}
	decision, _, err := g.Authorizer.Authorize(ctx, attrs)
	return err == nil && decision == authorizer.DecisionAllow
}

// confirm answers an error that names what of rules the caller doesn't hold.
func (g guard) confirm(ctx context.Context, rules []rbacv1.PolicyRule) error {
	u, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return errors.New("no user on context")
	}
	namespace, _ := genericrequest.NamespaceFrom(ctx)
	held, unresolved := g.Rules.RulesFor(ctx, u, namespace)
	covered, missing := validation.Covers(held, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		lines = append(lines, describe(rule))
	}
	slices.Sort(lines)
	msg := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s", u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if unresolved != nil {
		msg += fmt.Sprintf("; resolution errors: %v", []error{unresolved})
	}
	return errors.New(msg)
}

// compact joins rules about one resource, which differ only in the verb.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type key struct{ group, resource, name string }
	at := map[key]int{}
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		if len(r.APIGroups) != 1 || len(r.Resources) != 1 || len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 {
			out = append(out, r)
			continue
		}
		k := key{group: r.APIGroups[0], resource: r.Resources[0], name: strings.Join(r.ResourceNames, "")}
		if i, ok := at[k]; ok {
			out[i].Verbs = append(out[i].Verbs, r.Verbs...)
			continue
		}
		at[k] = len(out)
		out = append(out, *r.DeepCopy())
	}
	return out
}

// describe prints a rule in the form {APIGroups:[...], Resources:[...], Verbs:[...]}.
func describe(r rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", name, values))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("ResourceNames", r.ResourceNames)
	add("NonResourceURLs", r.NonResourceURLs)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}
