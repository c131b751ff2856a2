// Package admissionregistration defines the resources of the
// admissionregistration.k8s.io API group: what else decides about requests.
package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	declared "skiff/apis/declarative/admissionregistration/v1"
	"skiff/apis/resource"
)

var (
	group    = admissionv1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// categories of every kind of the group.
func categories() []string { return []string{"api-extensions"} }

// Resources lists what the group serves.
func Resources() []resource.Resource {
	c := newExpressions()
	return []resource.Resource{
		mutatingAdmissionPolicies(c), mutatingAdmissionPolicyBindings(),
		mutatingWebhookConfigurations(c),
		validatingAdmissionPolicies(c), validatingAdmissionPolicyBindings(),
		validatingWebhookConfigurations(c),
	}
}

func setTo[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}
