package storage

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

const maxNodeID = 256

func csiNodes() resource.Definition[*storagev1.CSINode] {
	type N = *storagev1.CSINode
	return resource.Definition[N]{
		Resource:      group.WithResource("csinodes"),
		Kind:          "CSINode",
		ReturnDeleted: true,
		Singular:      "csinode",
		ClusterScoped: true,
		Object:        &storagev1.CSINode{},
		List:          &storagev1.CSINodeList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Validate:      validateCSINode,
		Spec:          func(n N) any { return &n.Spec },
		NoGeneration:  true,
		Status:        func(n N) any { return &n.Status },
		PrepareStatus: func(_ context.Context, obj, old N) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
			obj.Status.StorageHealth = nil // a feature that is off
		},
		StatusResetFields: []string{"metadata", "spec"},

		NoUnconditionalUpdate: true,
		Columns: []resource.Column[N]{
			{Name: "Drivers", Type: "integer", Help: "Drivers indicates the number of CSI drivers registered on the node", Value: func(n N) any { return int64(len(n.Spec.Drivers)) }},
		},
	}
}

func validateCSINode(_ context.Context, obj, old *storagev1.CSINode) (errs field.ErrorList) {
	at := field.NewPath("spec", "drivers")
	seen := map[string]bool{}
	for i, d := range obj.Spec.Drivers {
		errs = append(errs, validateNodeDriver(d, seen, at.Index(i))...)
	}
	if old == nil {
		return errs
	}
	for i, d := range obj.Spec.Drivers {
		for _, was := range old.Spec.Drivers {
			// how many volumes fit may change, what the driver is may not
			was.Allocatable, d.Allocatable = nil, nil
			if d.Name == was.Name && !equality.Semantic.DeepEqual(d, was) {
				errs = append(errs, field.Invalid(at.Index(i), d, validation.FieldImmutableErrorMsg))
			}
		}
	}
	return errs
}

func validateNodeDriver(d storagev1.CSINodeDriver, seen map[string]bool, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, driverName(d.Name, at.Child("name"))...)
	switch {
	case d.NodeID == "":
		errs = append(errs, field.Required(at.Child("nodeID"), ""))
	case len(d.NodeID) > maxNodeID:
		errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, "must be 256 characters or less"))
	}
	if d.Allocatable != nil && d.Allocatable.Count != nil {
		errs = append(errs, validate.NonNegative(*d.Allocatable.Count, at.Child("allocatable", "count"))...)
	}
	if seen[d.Name] {
		errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
	}
	seen[d.Name] = true
	keys := map[string]bool{}
	for _, key := range d.TopologyKeys {
		if key == "" {
			errs = append(errs, field.Required(at, ""))
		}
		if keys[key] {
			errs = append(errs, field.Duplicate(at, key))
		}
		keys[key] = true
		errs = append(errs, validate.All(at, key, utilvalidation.IsQualifiedName(key))...)
	}
	return errs
}
