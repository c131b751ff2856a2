// Package policy defines the resources of the policy API group. The eviction of
// a pod, whose body is of this group, belongs to the pod.
package policy

import "skiff/apis/resource"

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{podDisruptionBudgets()} }
