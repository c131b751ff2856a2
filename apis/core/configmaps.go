package core

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func configMaps() resource.Resource {
	return resource.Definition[*corev1.ConfigMap]{
		Resource:   corev1.SchemeGroupVersion.WithResource("configmaps"),
		Kind:       "ConfigMap",
		Singular:   "configmap",
		ShortNames: []string{"cm"},
		Object:     &corev1.ConfigMap{},
		List:       &corev1.ConfigMapList{},
		Name:       apivalidation.NameIsDNSSubdomain,
		Validate:   validateConfigMap,
		Columns: []resource.Column[*corev1.ConfigMap]{
			{Name: "Data", Type: "string", Help: corev1.ConfigMap{}.SwaggerDoc()["data"], Value: func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }},
		},
	}
}

func validateConfigMap(_ context.Context, obj, old *corev1.ConfigMap) (errs field.ErrorList) {
	if old != nil {
		errs = append(errs, frozen(obj.Immutable, old.Immutable)...)
		if isTrue(old.Immutable) {
			errs = append(errs, frozenData("data", obj.Data, old.Data)...)
			errs = append(errs, frozenData("binaryData", obj.BinaryData, old.BinaryData)...)
		}
	}
	size := 0
	for _, k := range slices.Sorted(maps.Keys(obj.Data)) {
		path := field.NewPath("data").Key(k)
		errs = append(errs, validate.All(path, k, validation.IsConfigMapKey(k))...)
		if _, dup := obj.BinaryData[k]; dup {
			errs = append(errs, field.Invalid(path, k, "duplicate of key present in binaryData"))
		}
		size += len(obj.Data[k])
	}
	for _, k := range slices.Sorted(maps.Keys(obj.BinaryData)) {
		errs = append(errs, validate.All(field.NewPath("binaryData").Key(k), k, validation.IsConfigMapKey(k))...)
		size += len(obj.BinaryData[k])
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

const frozenText = "field is immutable when `immutable` is set"

// frozen says that an immutable object can't be made mutable again.
func frozen(now, old *bool) field.ErrorList {
	if isTrue(old) && !isTrue(now) {
		return field.ErrorList{field.Forbidden(field.NewPath("immutable"), frozenText)}
	}
	return nil
}

func frozenData(name string, now, old any) field.ErrorList {
	if equality.Semantic.DeepEqual(now, old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath(name), frozenText)}
}

func isTrue(b *bool) bool { return b != nil && *b }
