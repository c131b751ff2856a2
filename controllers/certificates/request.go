package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// legacyUnknown is the signer of requests that certificates.k8s.io/v1beta1 left without one.
const legacyUnknown = "kubernetes.io/legacy-unknown"

// valid tells why the signer must not sign the request; the texts are upstream's, they stand in the condition Failed.
// It follows https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers.
func valid(signer string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName:
		return validClient(usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return validKubelet(request, usages, certificatesv1.UsageClientAuth)
	case certificatesv1.KubeletServingSignerName:
		return validKubelet(request, usages, certificatesv1.UsageServerAuth)
	}
	return nil
}

func validClient(usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func validKubelet(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	serves := purpose == certificatesv1.UsageServerAuth
	switch {
	case !slices.Equal(request.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case serves && len(request.DNSNames) == 0 && len(request.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case !serves && len(request.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed") //nolint:staticcheck // upstream's text
	case !serves && len(request.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if wanted := kubeletUsages(purpose); !sets.New(usages...).Equal(wanted) && !sets.New(usages...).Equal(wanted.Clone().Delete(certificatesv1.UsageKeyEncipherment)) {
		return fmt.Errorf("usages did not match %v", sets.List(wanted))
	}
	if !strings.HasPrefix(request.Subject.CommonName, "system:node:") {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// kubeletUsages answers the usages of a kubelet's certificate; only RSA keys need the encipherment.
func kubeletUsages(purpose certificatesv1.KeyUsage) sets.Set[certificatesv1.KeyUsage] {
	return sets.New(purpose, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
}
