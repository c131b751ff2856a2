package certificates

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff/apis/resource"
)

// newApproval builds /approval, through which alone a request is approved or denied.
func newApproval(store *registry.Store) rest.Storage {
	sub := *store
	s := approvalStrategy{resource.NewPart(store.UpdateStrategy)}
	sub.UpdateStrategy, sub.ResetFieldsStrategy = s, s
	return resource.NewUpdateEndpoint(&sub)
}

// approvalStrategy lets an update change nothing but the conditions.
type approvalStrategy struct{ resource.Part }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (approvalStrategy) PrepareForUpdate(_ context.Context, o, oldObj runtime.Object) {
	obj, old := o.(csr), oldObj.(csr)
	obj.Spec, obj.Status.Certificate = old.Spec, old.Status.Certificate
	stampConditions(obj.Status.Conditions, old.Status.Conditions)
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (approvalStrategy) ValidateUpdate(_ context.Context, o, oldObj runtime.Object) field.ErrorList {
	obj, old := o.(csr), oldObj.(csr)
	errs := validateCSRMeta(obj, old)
	errs = append(errs, validateConditions(obj.Status.Conditions, field.NewPath("status", "conditions"))...)
	return append(errs, validateKept(obj, old, failed)...)
}

// WarningsOnUpdate implements rest.RESTUpdateStrategy.
func (approvalStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (approvalStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(group.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "certificate")),
	}
}
