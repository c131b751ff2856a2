package resourceapi

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
)

func deviceClasses() resource.Definition[*resourcev1.DeviceClass] {
	type C = *resourcev1.DeviceClass
	return resource.Definition[C]{
		Resource:      group.WithResource("deviceclasses"),
		Kind:          "DeviceClass",
		ReturnDeleted: true,
		Singular:      "deviceclass",
		ClusterScoped: true,
		Object:        &resourcev1.DeviceClass{},
		List:          &resourcev1.DeviceClassList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		Validate:      validateClass,
		Spec:          func(c C) any { return &c.Spec },
		Columns:       []resource.Column[C]{},
	}
}

func validateClass(_ context.Context, obj, old *resourcev1.DeviceClass) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	// what is stored was valid once
	if old == nil || !equality.Semantic.DeepEqual(s.Selectors, old.Spec.Selectors) {
		errs = append(errs, validateSelectors(s.Selectors, at.Child("selectors"))...)
	}
	stored := old != nil && equality.Semantic.DeepEqual(s.Config, old.Spec.Config)
	return append(errs, list[resourcev1.DeviceClassConfiguration]{
		most: resourcev1.DeviceConfigMaxSize, sizeDeclared: true,
		check: func(c *resourcev1.DeviceClassConfiguration, at *field.Path) field.ErrorList {
			return validateConfiguration(&c.DeviceConfiguration, stored, at)
		},
	}.validate(s.Config, at.Child("config"))...)
}
