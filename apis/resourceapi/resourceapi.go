// Package resourceapi defines the resources of the resource.k8s.io API group:
// devices, and the claims to them.
package resourceapi

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/client-go/kubernetes"

	declared "skiff/apis/declarative/resource/v1"
	"skiff/apis/resource"
)

var (
	group    = resourcev1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// gates are the features that decide about declared rules.
func gates() map[string]bool { return map[string]bool{"DRAPartitionableDevicesType": false} }

// Deps is what the group needs of the server.
type Deps struct{ Client kubernetes.Interface }

// Resources lists what the group serves.
func Resources(deps Deps) []resource.Resource {
	a := admin{deps.Client}
	return []resource.Resource{deviceClasses(), deviceTaintRules(), resourceClaims(a), resourceClaimTemplates(a), resourceSlices()}
}
