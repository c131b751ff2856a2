package storage

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func csiStorageCapacities() resource.Definition[*storagev1.CSIStorageCapacity] {
	return resource.Definition[*storagev1.CSIStorageCapacity]{
		Resource: group.WithResource("csistoragecapacities"),
		Kind:     "CSIStorageCapacity",
		Singular: "csistoragecapacity",
		Object:   &storagev1.CSIStorageCapacity{},
		List:     &storagev1.CSIStorageCapacityList{},
		Register: register,
		Name:     validation.NameIsDNSSubdomain,
		Validate: validateCSIStorageCapacity,
		Warn:     warnCapacity,

		NoUnconditionalUpdate: true,
	}
}

func validateCSIStorageCapacity(_ context.Context, obj, old *storagev1.CSIStorageCapacity) (errs field.ErrorList) {
	topology := field.NewPath("nodeTopology")
	errs = append(errs, metavalidation.ValidateLabelSelector(obj.NodeTopology, metavalidation.LabelSelectorValidationOptions{}, topology)...)
	errs = append(errs, validate.All(field.NewPath("storageClassName"), obj.StorageClassName, validation.NameIsDNSSubdomain(obj.StorageClassName, false))...)
	errs = append(errs, nonNegativeQuantity(obj.Capacity, field.NewPath("capacity"))...)
	if old == nil {
		return errs
	}
	if !equality.Semantic.DeepEqual(obj.NodeTopology, old.NodeTopology) {
		errs = append(errs, field.Invalid(topology, obj.NodeTopology, validation.FieldImmutableErrorMsg))
	}
	if obj.StorageClassName != old.StorageClassName {
		errs = append(errs, field.Invalid(field.NewPath("storageClassName"), obj.StorageClassName, validation.FieldImmutableErrorMsg))
	}
	return errs
}

func nonNegativeQuantity(q *apiresource.Quantity, at *field.Path) field.ErrorList {
	if q == nil || q.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.String(), validation.IsNegativeErrorMsg)}
}
