// Package node defines the resources of the node.k8s.io API group.
package node

import "skiff/apis/resource"

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{runtimeClasses()} }
