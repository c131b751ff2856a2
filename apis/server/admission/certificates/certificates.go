// Package certificates guards certificate signing requests: approving, signing
// and attesting need permission for the signer, and nobody may ask the client
// signer for membership of system:masters.
package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"skiff/apis/same"
)

// The plugins' names in upstream's configuration.
const (
	ApprovalName = "CertificateApproval"
	SigningName  = "CertificateSigning"
	SubjectName  = "CertificateSubjectRestriction"
	BundleName   = "ClusterTrustBundleAttest"
)

// Signers asks for permission of a verb on a signer.
type Signers struct {
	*admission.Handler
	verb        string
	subresource string
	authorizer  authorizer.UnconditionalAuthorizer
}

var _ admission.ValidationInterface = Signers{}

// Approval guards the approval endpoint.
func Approval(z authorizer.UnconditionalAuthorizer) Signers {
	return Signers{admission.NewHandler(admission.Update), "approve", "approval", z}
}

// Signing guards changes of the certificate and of what signers report.
func Signing(z authorizer.UnconditionalAuthorizer) Signers {
	return Signers{admission.NewHandler(admission.Update), "sign", "status", z}
}

// Validate implements admission.ValidationInterface.
func (s Signers) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != certificatesv1.Resource("certificatesigningrequests") || a.GetSubresource() != s.subresource {
		return nil
	}
	old, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil
	}
	now, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || (s.verb == "sign" && !signed(now, old)) {
		return nil
	}
	if !permits(ctx, s.authorizer, a.GetUserInfo(), s.verb, old.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to %s requests with signerName %q", s.verb, old.Spec.SignerName))
	}
	return nil
}

// signed reports whether a status update is a signer's.
func signed(now, old *certificatesv1.CertificateSigningRequest) bool {
	return string(now.Status.Certificate) != string(old.Status.Certificate) ||
		!slices.EqualFunc(now.Status.Conditions, old.Status.Conditions, func(a, b certificatesv1.CertificateSigningRequestCondition) bool { return a == b })
}

// permits asks for the signer itself, then for all of its domain.
func permits(ctx context.Context, z authorizer.UnconditionalAuthorizer, u user.Info, verb, signer string) bool {
	names := []string{signer}
	if domain, _, ok := strings.Cut(signer, "/"); ok {
		names = append(names, domain+"/*")
	}
	return slices.ContainsFunc(names, func(name string) bool {
		decision, _, err := z.Authorize(ctx, authorizer.AttributesRecord{
			User: u, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*",
			Resource: "signers", ResourceRequest: true,
		})
		return err == nil && decision == authorizer.DecisionAllow
	})
}

// Bundles guards cluster trust bundles that belong to a signer.
type Bundles struct {
	*admission.Handler
	authorizer authorizer.UnconditionalAuthorizer
}

var _ admission.ValidationInterface = Bundles{}

// Attest guards cluster trust bundles.
func Attest(z authorizer.UnconditionalAuthorizer) Bundles {
	return Bundles{admission.NewHandler(admission.Create, admission.Update), z}
}

// Validate implements admission.ValidationInterface. Who takes a bundle away, or
// writes it again as it is, attests nothing.
func (b Bundles) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != certificatesv1.Resource("clustertrustbundles") || a.GetSubresource() != "" {
		return nil
	}
	bundle, ok := a.GetObject().(*certificatesv1.ClusterTrustBundle)
	if !ok || bundle.Spec.SignerName == "" {
		return nil
	}
	if a.GetOperation() == admission.Update && same.ButForCollector(bundle, a.GetOldObject()) {
		return nil
	}
	if !permits(ctx, b.authorizer, a.GetUserInfo(), "attest", bundle.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to attest for signerName %q", bundle.Spec.SignerName))
	}
	return nil
}

// Subjects refuses requests of the client signer for the group of those who may
// do everything.
type Subjects struct{ *admission.Handler }

var _ admission.ValidationInterface = Subjects{}

// Subject guards the subjects of new requests.
func Subject() Subjects { return Subjects{admission.NewHandler(admission.Create)} }

// Validate implements admission.ValidationInterface.
func (Subjects) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	csr, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || a.GetSubresource() != "" || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return admission.NewForbidden(a, errors.New("failed to parse CSR: not PEM"))
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(request.Subject.Organization, user.SystemPrivilegedGroup) {
		return admission.NewForbidden(a, fmt.Errorf("use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, user.SystemPrivilegedGroup))
	}
	return nil
}
