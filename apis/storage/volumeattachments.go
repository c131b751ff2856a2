package storage

import (
	"context"
	"math"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func volumeAttachments() resource.Definition[*storagev1.VolumeAttachment] {
	type A = *storagev1.VolumeAttachment
	spec, status := storagev1.VolumeAttachmentSpec{}.SwaggerDoc(), storagev1.VolumeAttachmentStatus{}.SwaggerDoc()
	return resource.Definition[A]{
		Resource:      group.WithResource("volumeattachments"),
		Kind:          "VolumeAttachment",
		ReturnDeleted: true,
		Singular:      "volumeattachment",
		ClusterScoped: true,
		Object:        &storagev1.VolumeAttachment{},
		List:          &storagev1.VolumeAttachmentList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Validate:      validateVolumeAttachment,
		Spec:          func(a A) any { return &a.Spec },
		NoGeneration:  true,

		NoUnconditionalUpdate: true,

		Status: func(a A) any { return &a.Status },
		PrepareStatus: func(_ context.Context, obj, old A) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus:    validateVolumeAttachment,
		StatusResetFields: []string{"metadata", "spec"},
		Columns: []resource.Column[A]{
			{Name: "Attacher", Type: "string", Format: "name", Help: spec["attacher"], Value: func(a A) any { return a.Spec.Attacher }},
			{Name: "PV", Type: "string", Help: storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"], Value: func(a A) any {
				if a.Spec.Source.PersistentVolumeName == nil {
					return ""
				}
				return *a.Spec.Source.PersistentVolumeName
			}},
			{Name: "Node", Type: "string", Help: spec["nodeName"], Value: func(a A) any { return a.Spec.NodeName }},
			{Name: "Attached", Type: "boolean", Help: status["attached"], Value: func(a A) any { return a.Status.Attached }},
		},
	}
}

func validateVolumeAttachment(_ context.Context, obj, old *storagev1.VolumeAttachment) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if old == nil {
		errs = append(errs, validateSource(&obj.Spec.Source, spec.Child("source"))...)
		errs = append(errs, validate.All(spec.Child("nodeName"), obj.Spec.NodeName, validation.NameIsDNSSubdomain(obj.Spec.NodeName, false))...)
	}
	status := field.NewPath("status")
	size := 0
	for k, v := range obj.Status.AttachmentMetadata {
		size += len(k) + len(v)
	}
	if size > maxParametersSize {
		errs = append(errs, field.TooLong(status.Child("attachmentMetadata"), "", maxParametersSize))
	}
	errs = append(errs, validateVolumeError(obj.Status.AttachError, status.Child("attachError"))...)
	return append(errs, validateVolumeError(obj.Status.DetachError, status.Child("detachError"))...)
}

func validateSource(s *storagev1.VolumeAttachmentSource, at *field.Path) field.ErrorList {
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch {
	case s.InlineVolumeSpec == nil && s.PersistentVolumeName == nil:
		return field.ErrorList{field.Required(at, one)}
	case s.InlineVolumeSpec != nil && s.PersistentVolumeName != nil:
		return field.ErrorList{field.Forbidden(at, one)}
	case s.InlineVolumeSpec != nil:
		return validateInline(s.InlineVolumeSpec, at.Child("inlineVolumeSpec"))
	}
	var errs field.ErrorList
	name := at.Child("persistentVolumeName")
	if *s.PersistentVolumeName == "" {
		errs = append(errs, field.Required(name, "must specify non empty persistentVolumeName"))
	}
	return append(errs, validate.All(name, *s.PersistentVolumeName, validation.NameIsDNSSubdomain(*s.PersistentVolumeName, false))...)
}

func validateVolumeError(e *storagev1.VolumeError, at *field.Path) field.ErrorList {
	const longest = 1024
	var errs field.ErrorList
	if e == nil {
		return nil
	}
	if len(e.Message) > longest {
		errs = append(errs, field.TooLong(at.Child("message"), "", longest))
	}
	if e.ErrorCode != nil && *e.ErrorCode < 0 {
		errs = append(errs, field.Invalid(at.Child("errorCode"), *e.ErrorCode, utilvalidation.InclusiveRangeError(0, math.MaxInt32)))
	}
	return errs
}
