package coordination

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/coordination/v1"
	"skiff/apis/resource"
)

func leases() resource.Definition[*coordinationv1.Lease] {
	return resource.Definition[*coordinationv1.Lease]{
		Resource: coordinationv1.SchemeGroupVersion.WithResource("leases"),
		Kind:     "Lease",
		Singular: "lease",
		Object:   &coordinationv1.Lease{},
		List:     &coordinationv1.LeaseList{},
		Register: declared.RegisterValidations,
		Name:     validation.NameIsDNSSubdomain,
		NameOnce: true,
		Prepare:  prepareLease,
		Validate: validateLease,
		Columns: []resource.Column[*coordinationv1.Lease]{
			{Name: "Holder", Type: "string", Help: coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"], Value: func(l *coordinationv1.Lease) any {
				if l.Spec.HolderIdentity == nil {
					return ""
				}
				return *l.Spec.HolderIdentity
			}},
		},
		CreateOnUpdate:        true,
		NoUnconditionalUpdate: true,
	}
}

// prepareLease drops the fields of coordinated leader election, which is off,
// unless the stored lease has them already.
func prepareLease(_ context.Context, obj, old *coordinationv1.Lease) {
	if old != nil && (old.Spec.Strategy != nil || old.Spec.PreferredHolder != nil) {
		return
	}
	obj.Spec.Strategy, obj.Spec.PreferredHolder = nil, nil
}

func validateLease(_ context.Context, obj, _ *coordinationv1.Lease) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if d := obj.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if t := obj.Spec.LeaseTransitions; t != nil && *t < 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseTransitions"), *t, validation.IsNegativeErrorMsg))
	}
	return errs
}
