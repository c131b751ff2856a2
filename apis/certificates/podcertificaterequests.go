package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

type pcr = *certificatesv1.PodCertificateRequest

const (
	shortestPodSeconds  = 3600
	longestPodSeconds   = 91 * 24 * 3600
	longestOfKubernetes = 24 * 3600
	longestUID          = 128
	maxRequest          = 10 * 1024
)

func podCertificateRequests() resource.Definition[pcr] {
	return resource.Definition[pcr]{
		Resource: group.WithResource("podcertificaterequests"),
		Kind:     "PodCertificateRequest",
		Singular: "podcertificaterequest",
		Object:   &certificatesv1.PodCertificateRequest{},
		List:     &certificatesv1.PodCertificateRequestList{},
		Register: register,
		Name:     validation.NameIsDNSSubdomain,
		NameOnce: true,
		Default: func(r pcr) {
			if r.Spec.MaxExpirationSeconds == nil {
				day := int32(longestOfKubernetes)
				r.Spec.MaxExpirationSeconds = &day
			}
		},
		Validate:     validatePCR,
		Spec:         func(r pcr) any { return &r.Spec },
		NoGeneration: true,
		Status:       func(r pcr) any { return &r.Status },
		PrepareStatus: func(_ context.Context, obj, old pcr) {
			metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus:    validatePCRStatus,
		StatusResetFields: []string{"metadata", "spec"},
		Fields: func(r pcr) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
		},
		Columns:               pcrColumns(),
		NoUnconditionalUpdate: true,
	}
}

func pcrColumns() []resource.Column[pcr] {
	doc := certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()
	return []resource.Column[pcr]{
		{Name: "PodName", Type: "string", Help: doc["podName"], Value: func(r pcr) any { return r.Spec.PodName }},
		{Name: "ServiceAccountName", Type: "string", Help: doc["serviceAccountName"], Value: func(r pcr) any { return r.Spec.ServiceAccountName }},
		{Name: "NodeName", Type: "string", Help: doc["nodeName"], Value: func(r pcr) any { return string(r.Spec.NodeName) }},
		{Name: "SignerName", Type: "string", Help: doc["signerName"], Value: func(r pcr) any { return r.Spec.SignerName }},
		{Name: "State", Type: "string", Help: "Is the request Pending, Issued, Denied, or Failed?", Value: func(r pcr) any {
			for _, c := range r.Status.Conditions {
				if c.Status == metav1.ConditionTrue && (c.Type == "Issued" || c.Type == "Denied" || c.Type == "Failed") {
					return c.Type
				}
			}
			return "Pending"
		}},
		{Name: "UnverifiedUserAnnotations", Type: "string", Help: doc["unverifiedUserAnnotations"], Value: func(r pcr) any {
			var out []string
			for _, k := range slices.Sorted(maps.Keys(r.Spec.UnverifiedUserAnnotations)) {
				out = append(out, k+"="+r.Spec.UnverifiedUserAnnotations[k])
			}
			if len(out) == 0 {
				return "<none>"
			}
			return strings.Join(out, ",")
		}},
		resource.NoAge[pcr](),
	}
}

func validatePCR(_ context.Context, obj, old pcr) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	if old != nil {
		return validation.ValidateImmutableField(*s, old.Spec, at)
	}
	errs = append(errs, validate.SignerName(s.SignerName, at.Child("signerName"))...)
	errs = append(errs, validate.DNSSubdomain(s.PodName, at.Child("podName"))...)
	errs = append(errs, validateUID(string(s.PodUID), at.Child("podUID"))...)
	errs = append(errs, validate.DNSSubdomain(s.ServiceAccountName, at.Child("serviceAccountName"))...)
	errs = append(errs, validateUID(string(s.ServiceAccountUID), at.Child("serviceAccountUID"))...)
	errs = append(errs, validate.DNSSubdomain(string(s.NodeName), at.Child("nodeName"))...)
	errs = append(errs, validateUID(string(s.NodeUID), at.Child("nodeUID"))...)
	if s.MaxExpirationSeconds == nil {
		errs = append(errs, field.Required(at.Child("maxExpirationSeconds"), "must be set"))
	} else {
		longest := int32(longestPodSeconds)
		if validate.KubernetesSigner(s.SignerName) {
			longest = longestOfKubernetes
		}
		if n := *s.MaxExpirationSeconds; n < shortestPodSeconds || n > longest {
			errs = append(errs, field.Invalid(at.Child("maxExpirationSeconds"), n, fmt.Sprintf("must be in the range [%d, %d]", shortestPodSeconds, longest)))
		}
	}
	errs = append(errs, validate.UserAnnotations(s.UnverifiedUserAnnotations, at.Child("unverifiedUserAnnotations"))...)
	return append(errs, validateKeys(s, at)...)
}

func validateUID(uid string, at *field.Path) field.ErrorList {
	switch {
	case uid == "":
		return field.ErrorList{field.Invalid(at, uid, "must not be empty")}
	case len(uid) > longestUID:
		return field.ErrorList{field.TooLong(at, uid, longestUID)}
	}
	return nil
}

// validateKeys checks that the key is given, and proven to be held: it comes in
// a request that it signed.
func validateKeys(s *certificatesv1.PodCertificateRequestSpec, at *field.Path) field.ErrorList {
	if len(s.StubPKCS10Request) == 0 {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set")}
	}
	return validateStub(s.StubPKCS10Request, at.Child("stubPKCS10Request"))
}

func validateStub(request []byte, at *field.Path) field.ErrorList {
	if len(request) > maxRequest {
		return field.ErrorList{field.TooLong(at, request, maxRequest)}
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "must be a valid PKCS#10 CSR")}
	}
	if err := parsed.CheckSignature(); err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "must be a valid signature")}
	}
	return validateKeyKind(parsed.PublicKey, at)
}

func validateKeyKind(key any, at *field.Path) field.ErrorList {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return field.ErrorList{field.Invalid(at, "curve "+k.Curve.Params().Name, "elliptic public keys must use curve P256 or P384")}
		}
		return nil
	case *rsa.PublicKey:
		if bits := k.Size() * 8; bits != 3072 && bits != 4096 {
			return field.ErrorList{field.Invalid(at, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")}
		}
		return nil
	}
	return field.ErrorList{field.Invalid(at, "unknown public key type", "must be a supported key type")}
}

// validatePCRStatus checks a signer's answer: one verdict, and a certificate
// only with the verdict that it was issued.
func validatePCRStatus(_ context.Context, obj, old pcr) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at := field.NewPath("status")
	errs = append(errs, metavalidation.ValidateConditions(obj.Status.Conditions, at.Child("conditions"))...)
	verdicts, issued := 0, false
	for i, c := range obj.Status.Conditions {
		errs = append(errs, validate.Enum(c.Type, at.Child("conditions").Index(i).Child("type"), "Denied", "Failed", "Issued")...)
		verdicts++
		issued = issued || c.Type == "Issued"
	}
	if verdicts > 1 {
		errs = append(errs, field.Invalid(at.Child("conditions"), obj.Status.Conditions, "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\""))
	}
	if chain := at.Child("certificateChain"); obj.Status.CertificateChain != "" {
		if !issued {
			errs = append(errs, field.Invalid(chain, omitted, "must not be set without the condition \"Issued\""))
		}
		if err := checkCertificates([]byte(obj.Status.CertificateChain)); err != nil {
			errs = append(errs, field.Invalid(chain, omitted, err.Error()))
		}
	}
	return errs
}
