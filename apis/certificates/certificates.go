// Package certificates defines the resources of the certificates.k8s.io API group.
package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"

	declared "skiff/apis/declarative/certificates/v1"
	"skiff/apis/resource"
)

var (
	group    = certificatesv1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// Resources lists what the group serves.
func Resources() []resource.Resource {
	return []resource.Resource{certificateSigningRequests(), clusterTrustBundles(), podCertificateRequests()}
}
