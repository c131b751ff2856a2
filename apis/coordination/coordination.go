// Package coordination defines the resources of the coordination.k8s.io API group.
package coordination

import "skiff/apis/resource"

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{leases()} }
