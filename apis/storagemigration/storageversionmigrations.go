package storagemigration

import (
	"context"

	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/storagemigration/v1"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func storageVersionMigrations() resource.Definition[*migrationv1.StorageVersionMigration] {
	type M = *migrationv1.StorageVersionMigration
	return resource.Definition[M]{
		Resource:      migrationv1.SchemeGroupVersion.WithResource("storageversionmigrations"),
		Kind:          "StorageVersionMigration",
		Singular:      "storageversionmigration",
		ClusterScoped: true,
		Object:        &migrationv1.StorageVersionMigration{},
		List:          &migrationv1.StorageVersionMigrationList{},
		Register:      declared.RegisterValidations,
		Name:          validation.NameIsDNSSubdomain,
		Validate:      validateMigration,
		Spec:          func(m M) any { return &m.Spec },
		NoGeneration:  true,
		Status:        func(m M) any { return &m.Status },
		PrepareStatus: func(_ context.Context, obj, old M) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus:    validateMigrationStatus,
		StatusResetFields: []string{"metadata", "spec"},
		Columns: []resource.Column[M]{
			{Name: "Resource", Type: "string", Help: "The resource being migrated.", Value: func(m M) any {
				r := schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}
				return r.String()
			}},
			{Name: "Status", Type: "string", Help: "The status of the migration.", Value: func(m M) any { return phase(m) }},
		},
		NoUnconditionalUpdate: true,
	}
}

// phase is the last condition that holds.
func phase(m *migrationv1.StorageVersionMigration) string {
	out := "Pending"
	for _, c := range m.Status.Conditions {
		if c.Status == metav1.ConditionTrue {
			out = c.Type
		}
	}
	return out
}

func validateMigration(_ context.Context, obj, old *migrationv1.StorageVersionMigration) (errs field.ErrorList) {
	at, r := field.NewPath("spec", "resource"), obj.Spec.Resource
	if r.Resource == "" {
		errs = append(errs, field.Required(at.Child("resource"), "resource is required to be set"))
	} else {
		errs = append(errs, validate.All(at.Child("resource"), r.Resource, utilvalidation.IsDNS1035Label(r.Resource))...)
	}
	if r.Group != "" {
		errs = append(errs, validate.DNSSubdomain(r.Group, at.Child("group"))...)
	}
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(obj.Spec, old.Spec, field.NewPath("spec"))...)
	}
	return errs
}

// validateMigrationStatus keeps how a migration ended, and from which version on it was.
func validateMigrationStatus(_ context.Context, obj, old *migrationv1.StorageVersionMigration) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	now, was := obj.Status.ResourceVersion, old.Status.ResourceVersion
	version, conditions := field.NewPath("status", "resourceVersion"), field.NewPath("status", "conditions")
	if now != "" {
		if _, err := resourceversion.CompareResourceVersion(now, now); err != nil {
			errs = append(errs, field.Invalid(version, now, err.Error()))
		}
	}
	errs = append(errs, metavalidation.ValidateConditions(obj.Status.Conditions, conditions)...)
	if was != "" && was != now {
		errs = append(errs, field.Invalid(version, now, validation.FieldImmutableErrorMsg))
	}
	holds := func(m *migrationv1.StorageVersionMigration, kind migrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, string(kind))
	}
	wrong := func(text string) {
		errs = append(errs, field.Invalid(conditions, validate.GoNames{Value: obj.Status.Conditions}, text))
	}
	if holds(obj, migrationv1.MigrationSucceeded) && holds(obj, migrationv1.MigrationFailed) {
		wrong("Both success and failed conditions cannot be true at the same time")
	}
	if holds(old, migrationv1.MigrationSucceeded) && !holds(obj, migrationv1.MigrationSucceeded) {
		wrong("Success condition cannot be set to false once it is true")
	}
	if holds(old, migrationv1.MigrationFailed) && !holds(obj, migrationv1.MigrationFailed) {
		wrong("Failed condition cannot be set to false once it is true")
	}
	return errs
}
