package node

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/node/v1"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func runtimeClasses() resource.Definition[*nodev1.RuntimeClass] {
	type C = *nodev1.RuntimeClass
	return resource.Definition[C]{
		Resource:      nodev1.SchemeGroupVersion.WithResource("runtimeclasses"),
		Kind:          "RuntimeClass",
		Singular:      "runtimeclass",
		ClusterScoped: true,
		Object:        &nodev1.RuntimeClass{},
		List:          &nodev1.RuntimeClassList{},
		Register:      declared.RegisterValidations,
		Name:          validation.NameIsDNSSubdomain,
		Validate:      validateRuntimeClass,
		Columns: []resource.Column[C]{
			{Name: "Handler", Type: "string", Value: func(c C) any { return c.Handler }},
		},
		NoUnconditionalUpdate: true,
	}
}

func validateRuntimeClass(_ context.Context, obj, old *nodev1.RuntimeClass) (errs field.ErrorList) {
	if old == nil && obj.Overhead != nil {
		errs = append(errs, validateOverhead(obj.Overhead.PodFixed, field.NewPath("overhead", "limits"))...)
	}
	if s := obj.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
		errs = append(errs, validateTolerations(s.Tolerations, at.Child("tolerations"))...)
	}
	return errs
}

func validateOverhead(list corev1.ResourceList, at *field.Path) (errs field.ErrorList) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		here, quantity := at.Key(string(name)), list[name]
		errs = append(errs, validateResourceName(string(name), here)...)
		if quantity.Sign() < 0 {
			errs = append(errs, field.Invalid(here, quantity.String(), validation.IsNegativeErrorMsg))
		}
	}
	return errs
}

func validateResourceName(name string, at *field.Path) (errs field.ErrorList) {
	if errs = validate.QualifiedName(name, at); len(errs) > 0 {
		return errs
	}
	standard := name == "cpu" || name == "memory" || name == "ephemeral-storage" || strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
	switch {
	case !strings.Contains(name, "/") && !standard:
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
	case strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix):
		errs = append(errs, field.Invalid(at, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

func validateTolerations(tolerations []corev1.Toleration, at *field.Path) (errs field.ErrorList) {
	for i, t := range tolerations {
		errs = append(errs, validateToleration(&t, at.Index(i))...)
	}
	for i, t := range tolerations {
		same := func(other corev1.Toleration) bool { return equality.Semantic.DeepEqual(t, other) }
		if slices.ContainsFunc(tolerations[:i], same) {
			errs = append(errs, field.Duplicate(at.Index(i), t))
		}
	}
	return errs
}

func validateToleration(t *corev1.Toleration, at *field.Path) (errs field.ErrorList) {
	if t.Key != "" {
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	} else if t.Operator != corev1.TolerationOpExists {
		errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
	}
	operator := at.Child("operator")
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		if msgs := utilvalidation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			errs = append(errs, field.Invalid(operator, t.Value, strings.Join(msgs, ";")))
		}
	case corev1.TolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(operator, t, "value must be empty when `operator` is 'Exists'"))
		}
	default:
		errs = append(errs, field.NotSupported(operator, t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
	}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	if t.Effect != "" && !slices.Contains(effects, t.Effect) {
		errs = append(errs, field.NotSupported(at.Child("effect"), t.Effect, effects))
	}
	return errs
}
