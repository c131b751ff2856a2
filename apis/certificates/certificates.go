// Package certificates defines the resources of the certificates.k8s.io API group.
package certificates

import (
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

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

// validateSignerName checks "domain/path", such as "kubernetes.io/kubelet-serving".
func validateSignerName(name string, at *field.Path) (errs field.ErrorList) {
	const longestDomain = utilvalidation.DNS1123SubdomainMaxLength
	const longestPath = utilvalidation.DNS1123SubdomainMaxLength + utilvalidation.DNS1123LabelMaxLength + 1
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	if len(domain) > longestDomain {
		errs = append(errs, field.TooLong(at, domain, longestDomain))
	}
	labels := strings.Split(domain, ".")
	errs = append(errs, validateParts(domain, labels, utilvalidation.IsDNS1123Label, at)...)
	if len(labels) < 2 {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, validateParts(path, strings.Split(path, "."), utilvalidation.IsDNS1123Subdomain, at)...)
	if len(path) > longestPath {
		errs = append(errs, field.TooLong(at, path, longestPath))
	}
	if len(name) > longestDomain+longestPath+1 {
		errs = append(errs, field.TooLong(at, name, longestDomain+longestPath+1))
	}
	return errs
}

// validateParts reports the first bad part of whole.
func validateParts(whole string, parts []string, check func(string) []string, at *field.Path) (errs field.ErrorList) {
	for _, part := range parts {
		for _, msg := range check(part) {
			errs = append(errs, field.Invalid(at, whole, fmt.Sprintf("validating label %q: %s", part, msg)))
		}
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}
