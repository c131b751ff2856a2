package node

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/node/v1"
	"skiff/apis/podspec"
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
		Warn:          warnRuntimeClass,
		Columns: []resource.Column[C]{
			{Name: "Handler", Type: "string", Value: func(c C) any { return c.Handler }},
		},
		NoUnconditionalUpdate: true,
	}
}

func validateRuntimeClass(_ context.Context, obj, old *nodev1.RuntimeClass) (errs field.ErrorList) {
	if old == nil && obj.Overhead != nil {
		errs = append(errs, podspec.ValidateOverhead(obj.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if s := obj.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
		errs = append(errs, validateTolerations(s.Tolerations, at.Child("tolerations"))...)
	}
	return errs
}

// validateTolerations refuses to have one twice.
func validateTolerations(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	errs := podspec.ValidateTolerations(tolerations, at)
	seen := map[corev1.Toleration]bool{}
	for i, t := range tolerations {
		key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if seen[key] {
			errs = append(errs, field.Duplicate(at.Index(i), validate.GoNames{Value: t}))
		}
		seen[key] = true
	}
	return errs
}

func warnRuntimeClass(_ context.Context, c, _ *nodev1.RuntimeClass) (out []string) {
	if c.Scheduling == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
		if text := podspec.DeprecatedLabel(key); text != "" {
			out = append(out, "scheduling.nodeSelector: "+text)
		}
	}
	return out
}
