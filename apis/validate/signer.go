package validate

import (
	"fmt"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// SignerName checks "domain/path", such as "kubernetes.io/kubelet-serving".
func SignerName(name string, at *field.Path) (errs field.ErrorList) {
	const longestDomain = validation.DNS1123SubdomainMaxLength
	const longestPath = validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 1
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
	errs = append(errs, parts(domain, labels, validation.IsDNS1123Label, at)...)
	if len(labels) < 2 {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, parts(path, strings.Split(path, "."), validation.IsDNS1123Subdomain, at)...)
	if len(name) > longestDomain+longestPath+1 {
		errs = append(errs, field.TooLong(at, name, longestDomain+longestPath+1))
	}
	return errs
}

// parts reports the first bad part of whole.
func parts(whole string, list []string, check func(string) []string, at *field.Path) (errs field.ErrorList) {
	for _, part := range list {
		for _, msg := range check(part) {
			errs = append(errs, field.Invalid(at, whole, fmt.Sprintf("validating label %q: %s", part, msg)))
		}
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}

// KubernetesSigner reports whether the signer belongs to Kubernetes itself.
func KubernetesSigner(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}

// BundleName checks that a signer's trust bundles, and only those, carry its
// name.
func BundleName(signer string) apivalidation.ValidateNameFunc {
	return func(name string, prefix bool) []string {
		if signer == "" {
			if strings.Contains(name, ":") {
				return []string{`ClusterTrustBundle without signer name must not have ":" in its name`}
			}
			return apivalidation.NameIsDNSSubdomain(name, prefix)
		}
		start := strings.ReplaceAll(signer, "/", ":") + ":"
		if !strings.HasPrefix(name, start) {
			return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, start)}
		}
		return apivalidation.NameIsDNSSubdomain(strings.TrimPrefix(name, start), prefix)
	}
}

// BundleSigner is the signer whose bundle has the name, or empty.
func BundleSigner(name string) string {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return ""
	}
	return strings.ReplaceAll(name[:i], ":", "/")
}

// UserAnnotations checks what a pod tells the signer of its certificate.
func UserAnnotations(annotations map[string]string, at *field.Path) (errs field.ErrorList) {
	for k := range annotations {
		errs = append(errs, validation.IsDomainPrefixedKey(at, strings.ToLower(k))...)
	}
	if err := apivalidation.ValidateAnnotationsSize(annotations); err != nil {
		errs = append(errs, field.TooLong(at, "", apivalidation.TotalAnnotationSizeLimitB))
	}
	return errs
}
