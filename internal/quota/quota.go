// Package quota measures what objects use of a ResourceQuota.
//
// A Meter knows one kind: which resource names its objects are charged under, which scopes hold for an object, and
// how much it uses. Admission charges one object with it; the controller adds up a namespace.
package quota

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
)

// Meter measures the objects of one kind.
type Meter struct {
	// Resource is the kind that is measured.
	Resource schema.GroupResource
	// Charges says whether objects of the kind may be charged under the name.
	Charges func(corev1.ResourceName) bool
	// InScope says whether a scope holds for an object; nil means that none ever does.
	InScope func(corev1.ScopedResourceSelectorRequirement, runtime.Object) (bool, error)
	// Usage is what an object uses.
	Usage func(runtime.Object) (corev1.ResourceList, error)
}

// Charged answers those of the names that objects of the kind may be charged under, in their order.
func (m Meter) Charged(names []corev1.ResourceName) []corev1.ResourceName {
	out := []corev1.ResourceName{}
	for _, n := range names {
		if m.Charges(n) {
			out = append(out, n)
		}
	}
	return out
}

// Holds says whether a scope holds for an object.
func (m Meter) Holds(scope corev1.ScopedResourceSelectorRequirement, o runtime.Object) (bool, error) {
	if m.InScope == nil {
		return false, nil
	}
	return m.InScope(scope, o)
}

// Scopes answers a quota's scopes of both notations.
func Scopes(spec *corev1.ResourceQuotaSpec) []corev1.ScopedResourceSelectorRequirement {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, s := range spec.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if spec.ScopeSelector != nil {
		out = append(out, spec.ScopeSelector.MatchExpressions...)
	}
	return out
}

// Sum adds up what the objects within all scopes use of the names.
func (m Meter) Sum(objects []runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement, names []corev1.ResourceName) (corev1.ResourceList, error) {
	sum := corev1.ResourceList{}
	for _, n := range names {
		sum[n] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, o := range objects {
		in, err := m.within(scopes, o)
		if err != nil {
			return nil, err
		}
		if !in {
			continue
		}
		used, err := m.Usage(o)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if q, ok := used[n]; ok {
				total := sum[n]
				total.Add(q)
				sum[n] = total
			}
		}
	}
	return sum, nil
}

func (m Meter) within(scopes []corev1.ScopedResourceSelectorRequirement, o runtime.Object) (bool, error) {
	for _, s := range scopes {
		if ok, err := m.Holds(s, o); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// CountName is the name that counts the objects of a kind: count/<resource>.<group>.
func CountName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + r.String())
}

// aliases are the names that some kinds were counted under before there was count/.
var aliases = map[schema.GroupResource]corev1.ResourceName{
	{Resource: "configmaps"}:             corev1.ResourceConfigMaps,
	{Resource: "resourcequotas"}:         corev1.ResourceQuotas,
	{Resource: "replicationcontrollers"}: corev1.ResourceReplicationControllers,
	{Resource: "secrets"}:                corev1.ResourceSecrets,
}

// Count is the meter of a kind whose objects are only counted.
func Count(r schema.GroupResource) Meter {
	names := []corev1.ResourceName{CountName(r)}
	if alias, ok := aliases[r]; ok {
		names = append(names, alias)
	}
	return Meter{
		Resource: r,
		Charges:  func(n corev1.ResourceName) bool { return slices.Contains(names, n) },
		Usage: func(runtime.Object) (corev1.ResourceList, error) {
			used := corev1.ResourceList{}
			for _, n := range names {
				used[n] = one()
			}
			return used, nil
		},
	}
}

// Alias answers the older name that objects of a kind are counted under.
func Alias(r schema.GroupResource) (corev1.ResourceName, bool) {
	n, ok := aliases[r]
	return n, ok
}

// Aliased are the kinds that have an older name.
func Aliased() []schema.GroupResource {
	out := make([]schema.GroupResource, 0, len(aliases))
	for r := range aliases {
		out = append(out, r)
	}
	return out
}

// Ignored says whether objects of the kind are never counted: those that are not stored, and events.
func Ignored(r schema.GroupResource) bool { return slices.Contains(Uncounted(), r) }

// Uncounted are the kinds whose objects are never counted.
func Uncounted() []schema.GroupResource {
	return []schema.GroupResource{
		{Resource: "bindings"}, {Resource: "componentstatuses"}, {Resource: "events"}, {Group: "events.k8s.io", Resource: "events"},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"}, {Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, {Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
		{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}, {Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	}
}

// selects says whether a scope's operator and values select the value, which may be absent.
func selects(scope corev1.ScopedResourceSelectorRequirement, value string) (bool, error) {
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	op, ok := operators[scope.Operator]
	if !ok {
		return false, fmt.Errorf("failed to parse and convert selector: %q is not a valid scope selector operator", scope.Operator)
	}
	r, err := labels.NewRequirement(string(scope.ScopeName), op, scope.Values)
	if err != nil {
		return false, fmt.Errorf("failed to parse and convert selector: %w", err)
	}
	set := labels.Set{}
	if value != "" {
		set[string(scope.ScopeName)] = value
	}
	return r.Matches(set), nil
}

func one() resource.Quantity { return number(1) }

func number(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.DecimalSI) }
