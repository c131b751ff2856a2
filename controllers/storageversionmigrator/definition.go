package storageversionmigrator

import (
	"context"
	"fmt"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apply "k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// definer is the field manager of what is written to definitions.
const definer = "migration-runner-controller"

// Definition is the state of the definition of a migration's resource.
type Definition = apiextensionsv1.CustomResourceDefinition

// begin tells the definition of the migration's resource that the migration runs. Other resources have none.
func (r *reconciler) begin(ctx context.Context, m *Migration) error {
	return r.define(ctx, m, func(d *Definition) *apply.CustomResourceDefinitionStatusApplyConfiguration {
		return Migrating(d, m.Name, r.env.Clock.Now())
	})
}

// end tells it that the migration has ended.
func (r *reconciler) end(ctx context.Context, m *Migration) error {
	return r.define(ctx, m, func(d *Definition) *apply.CustomResourceDefinitionStatusApplyConfiguration {
		return Migrated(d, holds(m, migrationv1.MigrationSucceeded), r.env.Clock.Now())
	})
}

// define applies a status that was made for the definition's present version only: who changes the definition may
// change what is true of it.
func (r *reconciler) define(ctx context.Context, m *Migration, status func(*Definition) *apply.CustomResourceDefinitionStatusApplyConfiguration) error {
	name := m.Spec.Resource.Resource + "." + m.Spec.Resource.Group
	d, err := r.definitions.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading definition: %w", err)
	}
	wanted := apply.CustomResourceDefinition(name).WithResourceVersion(d.ResourceVersion).WithStatus(status(d))
	_, err = r.definitions.ApplyStatus(ctx, wanted, metav1.ApplyOptions{FieldManager: definer, Force: true})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating status of the definition: %w", err)
	}
	return nil
}

// Migrating answers the status of a definition whose objects are about to be written again. The stored versions are
// repeated, for what a field manager leaves out is taken away, and they are its since its last migration.
func Migrating(d *Definition, migration string, now time.Time) *apply.CustomResourceDefinitionStatusApplyConfiguration {
	return defined(d, apiextensionsv1.ConditionTrue, "MigrationRunning", fmt.Sprintf("Migration %s is running", migration), now).
		WithStoredVersions(d.Status.StoredVersions...)
}

// Migrated answers the status of a definition when a migration has ended. If it succeeded, and the definition is still
// the one that it began with, no object is stored in any other than the storage version. Kubernetes v1.37 says so after
// a failure, too; then the other versions could be removed while objects are stored in them.
func Migrated(d *Definition, succeeded bool, now time.Time) *apply.CustomResourceDefinitionStatusApplyConfiguration {
	began := apihelpers.FindCRDCondition(d, apiextensionsv1.StorageMigrating)
	same := began != nil && began.ObservedGeneration == d.Generation
	reason, message, stored := "MigrationFailed", "The migration has failed", d.Status.StoredVersions
	switch {
	case succeeded && same:
		reason, message, stored = "MigrationSucceeded", "The migration has succeeded and the stored versions have been updated", storage(d)
	case succeeded:
		reason, message = "MigrationSucceeded", "The migration has succeeded but the stored versions have not been updated due to a generation mismatch"
	}
	return defined(d, apiextensionsv1.ConditionFalse, reason, message, now).WithStoredVersions(stored...)
}

func defined(d *Definition, status apiextensionsv1.ConditionStatus, reason, message string, now time.Time) *apply.CustomResourceDefinitionStatusApplyConfiguration {
	return apply.CustomResourceDefinitionStatus().WithConditions(apply.CustomResourceDefinitionCondition().
		WithType(apiextensionsv1.StorageMigrating).WithStatus(status).WithReason(reason).WithMessage(message).
		WithLastTransitionTime(metav1.NewTime(now)).WithObservedGeneration(d.Generation))
}

// storage is the version that objects are stored in.
func storage(d *Definition) []string {
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Storage {
			return []string{d.Spec.Versions[i].Name}
		}
	}
	return d.Status.StoredVersions
}
