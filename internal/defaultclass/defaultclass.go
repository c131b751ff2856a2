// Package defaultclass picks the storage class of claims that name none.
package defaultclass

import (
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
)

const (
	annotation     = "storageclass.kubernetes.io/is-default-class"
	annotationBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

// Of is the newest of the classes marked as default, by name among equals; nil
// if none is.
func Of(classes []*storagev1.StorageClass) *storagev1.StorageClass {
	marked := slices.DeleteFunc(slices.Clone(classes), func(c *storagev1.StorageClass) bool {
		return c.Annotations[annotation] != "true" && c.Annotations[annotationBeta] != "true"
	})
	if len(marked) == 0 {
		return nil
	}
	return slices.MinFunc(marked, func(a, b *storagev1.StorageClass) int {
		if n := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
}
