package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const (
	legacySigner  = "kubernetes.io/legacy-unknown"
	shortestValid = 600

	approved = certificatesv1.CertificateApproved
	denied   = certificatesv1.CertificateDenied
	failed   = certificatesv1.CertificateFailed
)

func usages() []certificatesv1.KeyUsage {
	return []certificatesv1.KeyUsage{
		certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
		certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
		certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
		certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
		certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
	}
}

func validateCSR(_ context.Context, obj, old csr) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	if err := checkRequest(s.Request); err != nil {
		errs = append(errs, field.Invalid(at.Child("request"), s.Request, err.Error()))
	}
	if len(s.Usages) == 0 {
		errs = append(errs, field.Required(at.Child("usages"), ""))
	}
	known := usages()
	slices.Sort(known)
	for i, u := range s.Usages {
		errs = append(errs, validate.Enum(u, at.Child("usages").Index(i), known...)...)
		if slices.Contains(s.Usages[:i], u) {
			errs = append(errs, field.Duplicate(at.Child("usages").Index(i), u))
		}
	}
	if s.SignerName == legacySigner && old == nil {
		errs = append(errs, field.Invalid(at.Child("signerName"), s.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, validate.SignerName(s.SignerName, at.Child("signerName"))...)
	}
	if n := s.ExpirationSeconds; n != nil && *n < shortestValid {
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *n, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

func checkRequest(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err //nolint:wrapcheck // the message is the API's
	}
	return request.CheckSignature() //nolint:wrapcheck // the message is the API's
}

func validateCSRMeta(obj, old csr) field.ErrorList {
	return validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
}

// validateCSRStatus checks what a signer writes: a certificate, once, and
// whether it failed; never the approval.
func validateCSRStatus(_ context.Context, obj, old csr) field.ErrorList {
	errs := validateCSRMeta(obj, old)
	errs = append(errs, validateConditions(obj.Status.Conditions, field.NewPath("status", "conditions"))...)
	at := field.NewPath("status", "certificate")
	if len(old.Status.Certificate) > 0 && !bytes.Equal(obj.Status.Certificate, old.Status.Certificate) {
		errs = append(errs, field.Forbidden(at, "updates may not modify existing certificate content"))
	}
	if len(obj.Status.Certificate) > 0 && !bytes.Equal(obj.Status.Certificate, old.Status.Certificate) {
		if err := checkCertificates(obj.Status.Certificate); err != nil {
			errs = append(errs, field.Invalid(at, "<certificate data>", err.Error()))
		}
	}
	errs = append(errs, validateUntouched(obj, old, approved, denied)...)
	return append(errs, validateKept(obj, old, failed)...)
}

func validateConditions(conditions []certificatesv1.CertificateSigningRequestCondition, at *field.Path) (errs field.ErrorList) {
	for i, c := range conditions {
		here := at.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(here.Child("type"), ""))
		}
		statuses := []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}
		if c.Type == approved || c.Type == denied || c.Type == failed {
			statuses = statuses[:1]
		}
		errs = append(errs, validate.RequiredEnum(c.Status, here.Child("status"), statuses...)...)
	}
	return errs
}

func conditionsOf(r csr, kind certificatesv1.RequestConditionType) (out []certificatesv1.CertificateSigningRequestCondition) {
	for _, c := range r.Status.Conditions {
		if c.Type == kind {
			out = append(out, c)
		}
	}
	return out
}

// validateUntouched refuses any change of conditions of the kinds.
func validateUntouched(obj, old csr, kinds ...certificatesv1.RequestConditionType) (errs field.ErrorList) {
	at := field.NewPath("status", "conditions")
	for _, kind := range kinds {
		now, was := conditionsOf(obj, kind), conditionsOf(old, kind)
		switch {
		case len(now) < len(was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not remove a condition of type %q", kind)))
		case len(now) > len(was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", kind)))
		case !equality.Semantic.DeepEqual(now, was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not modify a condition of type %q", kind)))
		}
	}
	return errs
}

// validateKept refuses to take a verdict back; the kinds are beside the approval.
func validateKept(obj, old csr, kinds ...certificatesv1.RequestConditionType) (errs field.ErrorList) {
	for _, kind := range append([]certificatesv1.RequestConditionType{approved, denied}, kinds...) {
		if len(conditionsOf(obj, kind)) < len(conditionsOf(old, kind)) {
			errs = append(errs, field.Forbidden(field.NewPath("status", "conditions"), fmt.Sprintf("updates may not remove a condition of type %q", kind)))
		}
	}
	return errs
}

// checkCertificates demands PEM of certificates and nothing else.
func checkCertificates(data []byte) error {
	found := false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		found = true
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err //nolint:wrapcheck // the message is the API's
		}
		if len(certificates) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
	}
	if !found {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
