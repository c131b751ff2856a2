// Package storage defines the resources of the storage.k8s.io API group.
package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	declared "skiff/apis/declarative/storage/v1"
	"skiff/apis/resource"
)

var (
	group    = storagev1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// Resources lists what the group serves.
func Resources() []resource.Resource {
	return []resource.Resource{
		csiDrivers(), csiNodes(), csiStorageCapacities(), storageClasses(),
		volumeAttachments(), volumeAttributesClasses(),
	}
}
