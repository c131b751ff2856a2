package core

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateResourceQuota(q, old *corev1.ResourceQuota) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, validateQuotaList(q.Spec.Hard, spec.Child("hard"))...)
	errs = append(errs, validateScopes(&q.Spec, spec)...)
	errs = append(errs, validateScopeSelector(&q.Spec, spec)...)
	if old == nil {
		return errs
	}
	if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		errs = append(errs, field.Invalid(spec.Child("scopes"), q.Spec.Scopes, validate.Immutable))
	}
	return errs
}

func validateResourceQuotaStatus(q *corev1.ResourceQuota) field.ErrorList {
	status := field.NewPath("status")
	return append(validateQuotaList(q.Status.Hard, status.Child("hard")), validateQuotaList(q.Status.Used, status.Child("used"))...)
}

func validateQuotaList(list corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	for _, k := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(k))
		errs = append(errs, podspec.ValidateQuotaResource(k, at)...)
		errs = append(errs, podspec.ValidateQuantity(k, list[k], at)...)
	}
	return errs
}

var standardScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
	corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// scopeCovers reports whether objects of a resource can be in a scope: most
// scopes are about pods, a few only about what pods use.
func scopeCovers(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	podThings := []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage}
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return slices.Contains(podThings, name) || strings.HasPrefix(string(name), "requests.") || strings.HasPrefix(string(name), "hugepages-")
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	}
	return true
}

func validateScopes(s *corev1.ResourceQuotaSpec, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child("scopes")
	have := sets.New[corev1.ResourceQuotaScope]()
	for _, scope := range s.Scopes {
		if !slices.Contains(standardScopes, scope) {
			errs = append(errs, field.Invalid(path, s.Scopes, "unsupported scope"))
		}
		for _, k := range slices.Sorted(maps.Keys(s.Hard)) {
			if podspec.StandardQuotaResource(k) && !scopeCovers(scope, k) {
				errs = append(errs, field.Invalid(path, s.Scopes, "unsupported scope applied to resource"))
			}
		}
		have.Insert(scope)
	}
	return append(errs, conflictingScopes(have, path, s.Scopes)...)
}

func conflictingScopes(have sets.Set[corev1.ResourceQuotaScope], path *field.Path, value any) (errs field.ErrorList) {
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if have.HasAll(pair[0], pair[1]) {
			errs = append(errs, field.Invalid(path, value, "conflicting scopes"))
		}
	}
	return errs
}

func validateScopeSelector(s *corev1.ResourceQuotaSpec, spec *field.Path) (errs field.ErrorList) {
	if s.ScopeSelector == nil {
		return nil
	}
	path := spec.Child("scopeSelector", "matchExpressions")
	have := sets.New[corev1.ResourceQuotaScope]()
	for _, e := range s.ScopeSelector.MatchExpressions {
		name := path.Child("scopeName")
		if !slices.Contains(standardScopes, e.ScopeName) {
			errs = append(errs, field.Invalid(name, e.ScopeName, "unsupported scope"))
		}
		for _, k := range slices.Sorted(maps.Keys(s.Hard)) {
			if podspec.StandardQuotaResource(k) && !scopeCovers(e.ScopeName, k) {
				errs = append(errs, field.Invalid(path, validate.GoNames{Value: s.ScopeSelector}, "unsupported scope applied to resource"))
			}
		}
		errs = append(errs, validateScopeExpression(e, path)...)
		have.Insert(e.ScopeName)
	}
	return append(errs, conflictingScopes(have, spec.Child("scopeSelector"), s.ScopeSelector)...)
}

func validateScopeExpression(e corev1.ScopedResourceSelectorRequirement, path *field.Path) (errs field.ErrorList) {
	switch e.ScopeName {
	case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating,
		corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		if e.Operator != corev1.ScopeSelectorOpExists {
			errs = append(errs, field.Invalid(path.Child("operator"), e.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
		}
	}
	values := path.Child("values")
	switch e.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(e.Values) == 0 {
			errs = append(errs, field.Required(values, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(e.Values) != 0 {
			errs = append(errs, field.Invalid(values, e.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
		}
	default:
		errs = append(errs, field.Invalid(path.Child("operator"), e.Operator, "not a valid selector operator"))
	}
	return errs
}
