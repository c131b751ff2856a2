package storage

import (
	"context"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func csiDrivers() resource.Definition[*storagev1.CSIDriver] {
	return resource.Definition[*storagev1.CSIDriver]{
		Resource:      group.WithResource("csidrivers"),
		Kind:          "CSIDriver",
		ReturnDeleted: true,
		Singular:      "csidriver",
		ClusterScoped: true,
		Object:        &storagev1.CSIDriver{},
		List:          &storagev1.CSIDriverList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		NameOnce:      true,
		Default:       defaultCSIDriver,
		Validate:      validateCSIDriver,
		Warn:          warnDriver,
		Columns:       csiDriverColumns(),

		NoUnconditionalUpdate: true,
	}
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	setTo(&s.AttachRequired, true)
	setTo(&s.PodInfoOnMount, false)
	setTo(&s.StorageCapacity, false)
	setTo(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	setTo(&s.RequiresRepublish, false)
	setTo(&s.SELinuxMount, false)
	setTo(&s.PreventPodSchedulingIfMissing, false)
}

func setTo[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}

func validateCSIDriver(_ context.Context, obj, old *storagev1.CSIDriver) (errs field.ErrorList) {
	at := field.NewPath("spec")
	s := &obj.Spec
	if s.AttachRequired == nil {
		errs = append(errs, field.Required(at.Child("attachRequired"), ""))
	}
	if s.PodInfoOnMount == nil {
		errs = append(errs, field.Required(at.Child("podInfoOnMount"), ""))
	}
	if s.StorageCapacity == nil {
		errs = append(errs, field.Required(at.Child("storageCapacity"), ""))
	}
	if s.FSGroupPolicy == nil {
		errs = append(errs, field.Required(at.Child("fsGroupPolicy"), ""))
	} else {
		errs = append(errs, validate.Enum(*s.FSGroupPolicy, at.Child("fsGroupPolicy"), storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)...)
	}
	errs = append(errs, validateTokenRequests(s.TokenRequests, at.Child("tokenRequests"))...)
	for _, mode := range s.VolumeLifecycleModes {
		errs = append(errs, validate.Enum(mode, at.Child("volumeLifecycleModes"), storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	if s.SELinuxMount == nil {
		errs = append(errs, field.Required(at.Child("seLinuxMount"), ""))
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < 10 {
		errs = append(errs, field.Invalid(at.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds"))
	}
	if ptr.Deref(s.ServiceAccountTokenInSecrets, false) && len(s.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(at.Child("serviceAccountTokenInSecrets"), *s.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(s.AttachRequired, old.Spec.AttachRequired, at.Child("attachedRequired"))...)
		errs = append(errs, validation.ValidateImmutableField(s.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, at.Child("volumeLifecycleModes"))...)
	}
	return errs
}

func validateTokenRequests(requests []storagev1.TokenRequest, at *field.Path) (errs field.ErrorList) {
	const shortest, longest = 10 * 60, 1 << 32
	seen := map[string]bool{}
	for i, r := range requests {
		here := at.Index(i)
		if seen[r.Audience] {
			errs = append(errs, field.Duplicate(here.Child("audience"), r.Audience))
			continue
		}
		seen[r.Audience] = true
		if r.ExpirationSeconds == nil {
			continue
		}
		if *r.ExpirationSeconds < shortest {
			errs = append(errs, field.Invalid(here.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
		}
		if *r.ExpirationSeconds > longest {
			errs = append(errs, field.Invalid(here.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return errs
}

func csiDriverColumns() []resource.Column[*storagev1.CSIDriver] {
	type D = *storagev1.CSIDriver
	doc := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return []resource.Column[D]{
		{Name: "AttachRequired", Type: "boolean", Help: doc["attachRequired"], Value: func(d D) any { return ptr.Deref(d.Spec.AttachRequired, true) }},
		{Name: "PodInfoOnMount", Type: "boolean", Help: doc["podInfoOnMount"], Value: func(d D) any { return ptr.Deref(d.Spec.PodInfoOnMount, false) }},
		{Name: "StorageCapacity", Type: "boolean", Help: doc["storageCapacity"], Value: func(d D) any { return ptr.Deref(d.Spec.StorageCapacity, false) }},
		{Name: "TokenRequests", Type: "string", Help: doc["tokenRequests"], Value: func(d D) any {
			if len(d.Spec.TokenRequests) == 0 {
				return "<unset>"
			}
			var audiences []string
			for _, r := range d.Spec.TokenRequests {
				audiences = append(audiences, r.Audience)
			}
			return strings.Join(audiences, ",")
		}},
		{Name: "RequiresRepublish", Type: "boolean", Help: doc["requiresRepublish"], Value: func(d D) any { return ptr.Deref(d.Spec.RequiresRepublish, false) }},
		{Name: "Modes", Type: "string", Help: doc["volumeLifecycleModes"], Value: func(d D) any {
			if len(d.Spec.VolumeLifecycleModes) == 0 {
				return "<none>"
			}
			var modes []string
			for _, m := range d.Spec.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			return strings.Join(modes, ",")
		}},
	}
}
