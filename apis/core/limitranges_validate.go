package core

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateLimitRange(r *corev1.LimitRange) (errs field.ErrorList) {
	seen := map[corev1.LimitType]bool{}
	for i := range r.Spec.Limits {
		l := &r.Spec.Limits[i]
		path := field.NewPath("spec", "limits").Index(i)
		errs = append(errs, validateLimitType(l.Type, path.Child("type"))...)
		if seen[l.Type] {
			errs = append(errs, field.Duplicate(path.Child("type"), l.Type))
		}
		seen[l.Type] = true
		errs = append(errs, validateLimits(l, path)...)
	}
	return errs
}

func validateLimitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	if errs := validate.QualifiedName(string(t), path); len(errs) > 0 {
		return errs
	}
	if t != corev1.LimitTypeContainer && t != corev1.LimitTypePod && t != corev1.LimitTypePersistentVolumeClaim && !podspec.Qualified(string(t)) {
		return field.ErrorList{field.Invalid(path, t, "must be a standard limit type or fully qualified")}
	}
	return nil
}

// validateLimits checks the quantities of one limit against each other.
func validateLimits(l *corev1.LimitRangeItem, path *field.Path) (errs field.ErrorList) {
	keys := sets.New[corev1.ResourceName]()
	list := func(name string, values corev1.ResourceList) {
		for _, k := range slices.Sorted(maps.Keys(values)) {
			keys.Insert(k)
			errs = append(errs, podspec.ValidateLimitResource(l.Type, k, path.Child(name).Key(string(k)))...)
		}
	}
	list("max", l.Max)
	list("min", l.Min)
	if l.Type == corev1.LimitTypePod {
		if len(l.Default) > 0 {
			errs = append(errs, field.Forbidden(path.Child("default"), "may not be specified when `type` is 'Pod'"))
		}
		if len(l.DefaultRequest) > 0 {
			errs = append(errs, field.Forbidden(path.Child("defaultRequest"), "may not be specified when `type` is 'Pod'"))
		}
	} else {
		list("default", l.Default)
		list("defaultRequest", l.DefaultRequest)
	}
	if l.Type == corev1.LimitTypePersistentVolumeClaim {
		_, lo := l.Min[corev1.ResourceStorage]
		_, hi := l.Max[corev1.ResourceStorage]
		if !lo && !hi {
			errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	list("maxLimitRequestRatio", l.MaxLimitRequestRatio)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		errs = append(errs, validateLimitOrder(l, k, path)...)
	}
	return errs
}

// validateLimitOrder checks min <= defaultRequest <= default <= max, and the ratio.
func validateLimitOrder(l *corev1.LimitRangeItem, k corev1.ResourceName, path *field.Path) (errs field.ErrorList) {
	low, hasLow := l.Min[k]
	high, hasHigh := l.Max[k]
	request, hasRequest := l.DefaultRequest[k]
	limit, hasLimit := l.Default[k]
	above := func(a, b bool, x, y resource.Quantity, at string, shown resource.Quantity, text string) {
		if a && b && x.Cmp(y) > 0 {
			errs = append(errs, field.Invalid(path.Child(at).Key(string(k)), shown.String(), fmt.Sprintf(text, x.String(), y.String())))
		}
	}
	above(hasLow, hasHigh, low, high, "min", low, "min value %s is greater than max value %s")
	above(hasRequest && hasLow, true, low, request, "defaultRequest", request, "min value %s is greater than default request value %s")
	above(hasRequest, hasHigh, request, high, "defaultRequest", request, "default request value %s is greater than max value %s")
	above(hasRequest, hasLimit, request, limit, "defaultRequest", request, "default request value %s is greater than default limit value %s")
	above(hasLimit && hasLow, true, low, limit, "default", low, "min value %s is greater than default value %s")
	above(hasLimit, hasHigh, limit, high, "default", high, "default value %s is greater than max value %s")
	ratio, ok := l.MaxLimitRequestRatio[k]
	if !ok {
		return errs
	}
	at := path.Child("maxLimitRequestRatio").Key(string(k))
	if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	if hasLow && hasHigh {
		actual := float64(high.Value()) / float64(low.Value())
		want := float64(ratio.Value())
		if high.Value() < resource.MaxMilliValue && low.Value() < resource.MaxMilliValue && ratio.Value() < resource.MaxMilliValue {
			actual, want = float64(high.MilliValue())/float64(low.MilliValue()), float64(ratio.MilliValue())/1000
		}
		if want > actual {
			errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), actual)))
		}
	}
	return errs
}
