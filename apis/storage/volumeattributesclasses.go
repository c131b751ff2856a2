package storage

import (
	"context"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func volumeAttributesClasses() resource.Definition[*storagev1.VolumeAttributesClass] {
	type C = *storagev1.VolumeAttributesClass
	return resource.Definition[C]{
		Resource:      group.WithResource("volumeattributesclasses"),
		Kind:          "VolumeAttributesClass",
		ReturnDeleted: true,
		Singular:      "volumeattributesclass",
		ShortNames:    []string{"vac"},
		ClusterScoped: true,
		Object:        &storagev1.VolumeAttributesClass{},
		List:          &storagev1.VolumeAttributesClassList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Validate:      validateVolumeAttributesClass,
		Columns: []resource.Column[C]{
			{Name: "DriverName", Type: "string", Help: storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"], Value: func(c C) any { return c.DriverName }},
		},
	}
}

func validateVolumeAttributesClass(_ context.Context, obj, old *storagev1.VolumeAttributesClass) (errs field.ErrorList) {
	driver, params := field.NewPath("driverName"), field.NewPath("parameters")
	if old != nil {
		if obj.DriverName != old.DriverName {
			errs = append(errs, field.Forbidden(driver, "updates to driverName are forbidden."))
		}
		if !equality.Semantic.DeepEqual(obj.Parameters, old.Parameters) {
			errs = append(errs, field.Forbidden(params, "updates to parameters are forbidden."))
		}
	}
	if obj.DriverName == "" {
		errs = append(errs, field.Required(driver, ""))
	} else {
		errs = append(errs, validate.QualifiedName(strings.ToLower(obj.DriverName), driver)...)
	}
	return append(errs, validateParameters(obj.Parameters, false, params)...)
}
