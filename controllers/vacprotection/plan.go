package vacprotection

import (
	"slices"

	storagev1 "k8s.io/api/storage/v1"

	"skiff/controllers/internal/claims"
)

const finalizer = "kubernetes.io/vac-protection"

// Finalizers answers the finalizers that the class should have, nil if it has them.
func Finalizers(class *storagev1.VolumeAttributesClass, used bool) []string {
	protected := slices.Contains(class.Finalizers, finalizer)
	switch {
	case class.DeletionTimestamp == nil && !protected:
		return append(slices.Clone(class.Finalizers), finalizer)
	case class.DeletionTimestamp != nil && protected && !used:
		return append([]string{}, claims.Without(class.Finalizers, finalizer)...)
	}
	return nil
}
