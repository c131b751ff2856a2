package podspec

import (
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

// checkProjection checks one source; used are the paths of all before it.
func validateProjection(s *corev1.VolumeProjection, used map[string]bool, at, volume *field.Path) (errs field.ErrorList) {
	count := 0
	claim := func(value, p string) {
		if p == "" {
			return
		}
		if used[p] {
			errs = append(errs, field.Invalid(volume, value, "conflicting duplicate paths"))
		}
		used[p] = true
	}
	one := func(name string, set bool, check func(*field.Path)) {
		if !set {
			return
		}
		count++
		if count > 1 {
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type per source"))
			return
		}
		check(at.Child(name))
	}
	items := func(name string, list []corev1.KeyToPath, src *field.Path) {
		errs = append(errs, validate.Required(name, src.Child("name"))...)
		errs = append(errs, validateItems(list, src.Child("items"))...)
		for _, k := range list {
			claim(name, k.Path)
		}
	}
	one("secret", s.Secret != nil, func(src *field.Path) { items(s.Secret.Name, s.Secret.Items, src) })
	one("configMap", s.ConfigMap != nil, func(src *field.Path) { items(s.ConfigMap.Name, s.ConfigMap.Items, src) })
	one("downwardAPI", s.DownwardAPI != nil, func(src *field.Path) {
		for i := range s.DownwardAPI.Items {
			f := &s.DownwardAPI.Items[i]
			errs = append(errs, validateDownwardFile(f, src)...)
			claim("downwardAPI", f.Path)
		}
	})
	one("serviceAccountToken", s.ServiceAccountToken != nil, func(src *field.Path) {
		errs = append(errs, validateToken(s.ServiceAccountToken, src)...)
		claim("serviceAccountToken", s.ServiceAccountToken.Path)
	})
	one("clusterTrustBundle", s.ClusterTrustBundle != nil, func(src *field.Path) {
		errs = append(errs, validateTrustBundle(s.ClusterTrustBundle, src)...)
		claim("clusterTrustBundle", s.ClusterTrustBundle.Path)
	})
	one("podCertificate", s.PodCertificate != nil, func(src *field.Path) {
		errs = append(errs, validatePodCertificate(s.PodCertificate, src)...)
		for _, p := range []string{s.PodCertificate.CredentialBundlePath, s.PodCertificate.KeyPath, s.PodCertificate.CertificateChainPath} {
			claim("podCertificate", p)
		}
	})
	return errs
}

func validateToken(t *corev1.ServiceAccountTokenProjection, src *field.Path) (errs field.ErrorList) {
	seconds := src.Child("expirationSeconds")
	if n := t.ExpirationSeconds; n != nil {
		switch {
		case *n < 10*60:
			errs = append(errs, field.Invalid(seconds, n, "may not specify a duration less than 10 minutes"))
		case *n > 1<<32:
			errs = append(errs, field.Invalid(seconds, n, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	if t.Path == "" {
		return append(errs, field.Required(src.Child("path"), ""))
	}
	return append(errs, validateFilePath(t.Path, src.Child("path"))...)
}

func validateTrustBundle(b *corev1.ClusterTrustBundleProjection, src *field.Path) (errs field.ErrorList) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		errs = append(errs, field.Invalid(src, untagged(*b), "only one of name and signerName may be used"))
	case b.Name != nil:
		if *b.Name == "" {
			errs = append(errs, field.Required(src.Child("name"), "must be a valid object name"))
		}
		if b.LabelSelector != nil {
			errs = append(errs, field.Invalid(src.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			errs = append(errs, field.Required(src.Child("signerName"), "must be a valid signer name"))
		}
		errs = append(errs, validateSelector(b.LabelSelector, src.Child("labelSelector"))...)
	default:
		errs = append(errs, field.Required(src, "either name or signerName must be specified"))
	}
	if b.Path == "" {
		return append(errs, field.Required(src.Child("path"), ""))
	}
	return append(errs, validateFilePath(b.Path, src.Child("path"))...)
}

func validatePodCertificate(p *corev1.PodCertificateProjection, src *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.Required(p.SignerName, src.Child("signerName"))...)
	errs = append(errs, validate.Enum(p.KeyType, src.Child("keyType"), "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")...)
	if n := p.MaxExpirationSeconds; n != nil && (*n < 60*60 || *n > 91*24*60*60) {
		errs = append(errs, field.Invalid(src.Child("maxExpirationSeconds"), *n, "must be between 3600 and 7862400"))
	}
	for name, value := range map[string]string{"credentialBundlePath": p.CredentialBundlePath, "keyPath": p.KeyPath, "certificateChainPath": p.CertificateChainPath} {
		if value != "" {
			errs = append(errs, validateFilePath(value, src.Child(name))...)
		}
	}
	if p.CredentialBundlePath == "" && p.KeyPath == "" && p.CertificateChainPath == "" {
		errs = append(errs, field.Required(src, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	return errs
}
