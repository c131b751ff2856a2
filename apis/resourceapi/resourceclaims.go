package resourceapi

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func resourceClaims(a admin) resource.Definition[*resourcev1.ResourceClaim] {
	type C = *resourcev1.ResourceClaim
	return resource.Definition[C]{
		Resource:      group.WithResource("resourceclaims"),
		Kind:          "ResourceClaim",
		ReturnDeleted: true,
		Singular:      "resourceclaim",
		Object:        &resourcev1.ResourceClaim{},
		List:          &resourcev1.ResourceClaimList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		Default:       func(c C) { defaultClaim(&c.Spec.Devices) },
		Prepare:       func(_ context.Context, obj, _ C) { dropDerived(&obj.Spec.Devices) },
		Validate: func(ctx context.Context, obj, old C) field.ErrorList {
			if old != nil {
				errs := validation.ValidateObjectMeta(&obj.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
				return append(errs, validation.ValidateImmutableField(obj.Spec, old.Spec, field.NewPath("spec")).WithOrigin("immutable").MarkCoveredByDeclarative()...)
			}
			errs := a.asked(ctx, obj.Namespace, obj.Spec.Devices.Requests)
			return append(errs, validateClaim(&obj.Spec.Devices, field.NewPath("spec", "devices"))...)
		},
		Spec:         func(c C) any { return &c.Spec },
		NoGeneration: true,
		Status:       func(c C) any { return &c.Status },
		PrepareStatus: func(_ context.Context, obj, old C) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
			dropDeallocated(&obj.Status, &old.Status)
		},
		ValidateStatus: func(ctx context.Context, obj, old C) field.ErrorList {
			errs := a.granted(ctx, obj.Namespace, obj.Status.Allocation, old.Status.Allocation)
			return append(errs, validateClaimStatus(obj, old)...)
		},
		StatusResetFields: []string{"metadata", "spec"},
		Columns: []resource.Column[C]{
			{Name: "State", Type: "string", Help: "A summary of the current state (allocated, pending, reserved, etc.).", Value: func(c C) any { return stateOf(c) }},
		},
	}
}

func stateOf(c *resourcev1.ResourceClaim) string {
	var out string
	if c.DeletionTimestamp != nil {
		out = "deleted,"
	}
	if c.Status.Allocation == nil {
		return out + "pending"
	}
	out += "allocated"
	if len(c.Status.ReservedFor) > 0 {
		out += ",reserved"
	}
	return out
}

func resourceClaimTemplates(a admin) resource.Definition[*resourcev1.ResourceClaimTemplate] {
	type T = *resourcev1.ResourceClaimTemplate
	return resource.Definition[T]{
		Resource:      group.WithResource("resourceclaimtemplates"),
		Kind:          "ResourceClaimTemplate",
		ReturnDeleted: true,
		Singular:      "resourceclaimtemplate",
		Object:        &resourcev1.ResourceClaimTemplate{},
		List:          &resourcev1.ResourceClaimTemplateList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		Default:       func(t T) { defaultClaim(&t.Spec.Spec.Devices) },
		Prepare:       func(_ context.Context, obj, _ T) { dropDerived(&obj.Spec.Spec.Devices) },
		Validate: func(ctx context.Context, obj, old T) (errs field.ErrorList) {
			at := field.NewPath("spec")
			if old == nil {
				errs = append(errs, a.asked(ctx, obj.Namespace, obj.Spec.Spec.Devices.Requests)...)
			} else {
				errs = append(errs, validation.ValidateObjectMeta(&obj.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
			}
			errs = append(errs, validateTemplateMeta(&obj.Spec.ObjectMeta, at.Child("metadata"))...)
			errs = append(errs, validateClaim(&obj.Spec.Spec.Devices, at.Child("spec", "devices"))...)
			if old != nil && !equality.Semantic.DeepEqual(obj.Spec, old.Spec) {
				errs = append(errs, field.Invalid(at, validate.GoNames{Value: obj.Spec}, validation.FieldImmutableErrorMsg))
			}
			return errs
		},
		Columns: []resource.Column[T]{},
	}
}

// validateTemplateMeta lets a template say nothing of its claims but labels and
// annotations.
func validateTemplateMeta(m *metav1.ObjectMeta, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validation.ValidateAnnotations(m.Annotations, at.Child("annotations"))...)
	errs = append(errs, metavalidation.ValidateLabels(m.Labels, at.Child("labels"))...)
	rest := *m
	rest.Labels, rest.Annotations = nil, nil
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"name", rest.Name != ""}, {"generateName", rest.GenerateName != ""}, {"namespace", rest.Namespace != ""},
		{"selfLink", rest.SelfLink != ""}, {"uid", rest.UID != ""}, {"resourceVersion", rest.ResourceVersion != ""},
		{"generation", rest.Generation != 0}, {"creationTimestamp", !rest.CreationTimestamp.IsZero()},
		{"deletionTimestamp", rest.DeletionTimestamp != nil}, {"deletionGracePeriodSeconds", rest.DeletionGracePeriodSeconds != nil},
		{"ownerReferences", rest.OwnerReferences != nil}, {"finalizers", rest.Finalizers != nil},
		{"managedFields", rest.ManagedFields != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set"))
		}
	}
	return errs
}
