// Package storagemigration defines the resources of the storagemigration.k8s.io API group.
package storagemigration

import "skiff/apis/resource"

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{storageVersionMigrations()} }
