package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	settledLife = time.Hour
	pendingLife = 24 * time.Hour
)

// Action is what is to be done with a request next.
type Action int

// Actions.
const (
	Wait Action = iota
	Delete
	Approve
	Sign
)

// Next answers what is to be done with the request at that time, and when to look again; 0 for never.
func Next(csr *certificatesv1.CertificateSigningRequest, now time.Time) (Action, time.Duration) {
	if csr.DeletionTimestamp != nil {
		return Wait, 0
	}
	left, mortal := life(csr, now)
	if mortal && left <= 0 {
		return Delete, 0
	}
	approved, denied, failed := condition(csr, certificatesv1.CertificateApproved), condition(csr, certificatesv1.CertificateDenied), condition(csr, certificatesv1.CertificateFailed)
	switch {
	case len(csr.Status.Certificate) > 0 || denied != nil || failed != nil:
		return Wait, left
	case approved == nil:
		return Approve, left
	case signs(csr.Spec.SignerName):
		return Sign, left
	}
	return Wait, left
}

func signs(signer string) bool {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName, legacyUnknown:
		return true
	}
	return false
}

// life answers how long the request may still be there: an hour after it was settled, a day while it is pending or is
// approved and waits for its signer, and not longer than its certificate.
func life(csr *certificatesv1.CertificateSigningRequest, now time.Time) (left time.Duration, mortal bool) {
	end := func(from metav1.Time, life time.Duration) {
		if d := from.Add(life).Sub(now); !from.IsZero() && (!mortal || d < left) {
			left, mortal = d, true
		}
	}
	if len(csr.Status.Conditions) == 0 {
		end(csr.CreationTimestamp, pendingLife)
	}
	for _, c := range csr.Status.Conditions {
		switch {
		case c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed:
			end(c.LastUpdateTime, settledLife)
		case c.Type == certificatesv1.CertificateApproved && len(csr.Status.Certificate) == 0:
			end(c.LastUpdateTime, pendingLife)
		case c.Type == certificatesv1.CertificateApproved:
			end(c.LastUpdateTime, settledLife)
			if cert := certificate(csr.Status.Certificate); cert != nil {
				end(metav1.NewTime(cert.NotAfter), 0)
			}
		}
	}
	return left, mortal
}

func certificate(data []byte) *x509.Certificate {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

// condition answers the condition if it is true; one without a status is, as upstream sees it.
func condition(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i, c := range csr.Status.Conditions {
		if c.Type == kind && (c.Status == corev1.ConditionTrue || c.Status == "") {
			return &csr.Status.Conditions[i]
		}
	}
	return nil
}
