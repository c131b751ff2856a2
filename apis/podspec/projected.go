package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateProjected(p *corev1.ProjectedVolumeSource, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateMode(p.DefaultMode, path.Child("defaultMode"))...)
	used := map[string]bool{}
	for i := range p.Sources {
		errs = append(errs, validateProjection(&p.Sources[i], used, path.Child("sources").Index(i), path)...)
	}
	return errs
}

// validateProjection checks one source; used are the paths of all before it.
func validateProjection(s *corev1.VolumeProjection, used map[string]bool, at, volume *field.Path) (errs field.ErrorList) {
	count := 0
	claim := func(value, p string) (errs field.ErrorList) {
		if p != "" && used[p] {
			errs = append(errs, field.Invalid(volume, value, "conflicting duplicate paths"))
		}
		used[p] = true
		return errs
	}
	items := func(name string, list []corev1.KeyToPath, src *field.Path) {
		count++
		errs = append(errs, validate.Required(name, src.Child("name"))...)
		for i := range list {
			errs = append(errs, validateItem(&list[i], src.Child("items").Index(i))...)
			errs = append(errs, claim(name, list[i].Path)...)
		}
	}
	if s.Secret != nil {
		items(s.Secret.Name, s.Secret.Items, at.Child("secret"))
	}
	if s.ConfigMap != nil {
		items(s.ConfigMap.Name, s.ConfigMap.Items, at.Child("configMap"))
	}
	if s.DownwardAPI != nil {
		count++
		for i := range s.DownwardAPI.Items {
			f := &s.DownwardAPI.Items[i]
			errs = append(errs, validateDownwardFile(f, at.Child("downwardAPI"))...)
			errs = append(errs, claim(f.Path, f.Path)...)
		}
	}
	if t := s.ServiceAccountToken; t != nil {
		count++
		errs = append(errs, validateToken(t, at.Child("serviceAccountToken"), volume)...)
	}
	if b := s.ClusterTrustBundle; b != nil {
		count++
		errs = append(errs, validateTrustBundle(b, at.Child("clusterTrustBundle"))...)
		errs = append(errs, claim(b.Path, b.Path)...)
	}
	if p := s.PodCertificate; p != nil {
		count++
		errs = append(errs, validatePodCertificate(p, claim, at.Child("podCertificate"))...)
	}
	if count > 1 {
		errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type per source"))
	}
	return errs
}

func validateToken(t *corev1.ServiceAccountTokenProjection, src, volume *field.Path) (errs field.ErrorList) {
	seconds := src.Child("expirationSeconds")
	switch n := t.ExpirationSeconds; {
	case n == nil:
		errs = append(errs, field.Required(seconds, ""))
	case *n < 10*60:
		errs = append(errs, field.Invalid(seconds, *n, "may not specify a duration less than 10 minutes"))
	case *n > 1<<32:
		errs = append(errs, field.Invalid(seconds, *n, "may not specify a duration larger than 2^32 seconds"))
	}
	if t.Path == "" {
		return append(errs, field.Required(volume.Child("path"), ""))
	}
	return append(errs, validateFilePath(t.Path, volume.Child("path"))...)
}

func validateTrustBundle(b *corev1.ClusterTrustBundleProjection, src *field.Path) (errs field.ErrorList) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		errs = append(errs, field.Invalid(src, untagged(*b), "only one of name and signerName may be used"))
	case b.Name != nil:
		at := src.Child("name")
		if *b.Name == "" {
			errs = append(errs, field.Required(at, "must be a valid object name"))
		}
		for _, msg := range validate.BundleName(validate.BundleSigner(*b.Name))(*b.Name, false) {
			errs = append(errs, field.Invalid(at, *b.Name, "not a valid clustertrustbundlename: "+msg))
		}
		if b.LabelSelector != nil {
			errs = append(errs, field.Invalid(src.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			errs = append(errs, field.Required(src.Child("signerName"), "must be a valid signer name"))
		}
		errs = append(errs, validate.SignerName(*b.SignerName, src.Child("signerName"))...)
		errs = append(errs, validateSelector(b.LabelSelector, src.Child("labelSelector"))...)
	default:
		errs = append(errs, field.Required(src, "either name or signerName must be specified"))
	}
	errs = append(errs, validate.Required(b.Path, src.Child("path"))...)
	return append(errs, validateFilePath(b.Path, src.Child("path"))...)
}

// the longest life of a pod's certificate in seconds, of others' and of
// Kubernetes' own signers
const longestCertificate, longestOwnCertificate = 91 * 24 * 60 * 60, 24 * 60 * 60

// validatePodCertificate checks the source; claim takes its paths.
func validatePodCertificate(p *corev1.PodCertificateProjection, claim func(value, path string) field.ErrorList, src *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.SignerName(p.SignerName, src.Child("signerName"))...)
	errs = append(errs, validate.UserAnnotations(p.UserAnnotations, src.Child("userAnnotations"))...)
	errs = append(errs, validate.Enum(p.KeyType, src.Child("keyType"), "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")...)
	if n := p.MaxExpirationSeconds; n != nil {
		longest := int32(longestCertificate)
		if validate.KubernetesSigner(p.SignerName) {
			longest = longestOwnCertificate
		}
		if *n < 3600 {
			errs = append(errs, field.Invalid(src.Child("maxExpirationSeconds"), *n, "if provided, maxExpirationSeconds must be >= 3600"))
		}
		if *n > longest {
			errs = append(errs, field.Invalid(src.Child("maxExpirationSeconds"), *n, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", longest)))
		}
	}
	given := false
	path := func(name, value string) {
		if value == "" {
			return
		}
		given = true
		errs = append(errs, validateFilePath(value, src.Child(name))...)
		errs = append(errs, claim(value, value)...)
	}
	path("credentialBundlePath", p.CredentialBundlePath)
	path("keyPath", p.KeyPath)
	path("certificateChainPath", p.CertificateChainPath)
	if !given {
		errs = append(errs, field.Required(src, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	return errs
}
