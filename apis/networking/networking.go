// Package networking defines the resources of the networking.k8s.io API group.
package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	declared "skiff/apis/declarative/networking/v1"
	"skiff/apis/resource"
)

var (
	group    = networkingv1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// Resources lists what the group serves.
func Resources() []resource.Resource {
	return []resource.Resource{
		ingresses(), ingressClasses(), ipAddresses(), networkPolicies(), serviceCIDRs(),
	}
}
