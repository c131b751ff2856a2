// Package discovery defines the resources of the discovery.k8s.io API group.
package discovery

import "skiff/apis/resource"

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{endpointSlices()} }
