// Package scheduling defines the resources of the scheduling.k8s.io API group.
package scheduling

import "skiff/apis/resource"

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{priorityClasses()} }
