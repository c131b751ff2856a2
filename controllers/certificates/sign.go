package certificates

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

const (
	// longest is the life of a certificate whose request asks for none or for more; shortest is the least.
	longest, shortest = 365 * 24 * time.Hour, 10 * time.Minute
	// backdate makes a certificate good for clocks that are late. It counts as part of a life of short or more.
	backdate, short = 5 * time.Minute, 8 * time.Hour
)

// Authority signs the cluster's certificates.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
	certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
	certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
	certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
	certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
	certificatesv1.UsageCertSign:          x509.KeyUsageCertSign,
	certificatesv1.UsageCRLSign:           x509.KeyUsageCRLSign,
	certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
	certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageAny:             x509.ExtKeyUsageAny,
	certificatesv1.UsageServerAuth:      x509.ExtKeyUsageServerAuth,
	certificatesv1.UsageClientAuth:      x509.ExtKeyUsageClientAuth,
	certificatesv1.UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
	certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageSMIME:           x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageIPsecEndSystem:  x509.ExtKeyUsageIPSECEndSystem,
	certificatesv1.UsageIPsecTunnel:     x509.ExtKeyUsageIPSECTunnel,
	certificatesv1.UsageIPsecUser:       x509.ExtKeyUsageIPSECUser,
	certificatesv1.UsageTimestamping:    x509.ExtKeyUsageTimeStamping,
	certificatesv1.UsageOCSPSigning:     x509.ExtKeyUsageOCSPSigning,
	certificatesv1.UsageMicrosoftSGC:    x509.ExtKeyUsageMicrosoftServerGatedCrypto,
	certificatesv1.UsageNetscapeSGC:     x509.ExtKeyUsageNetscapeServerGatedCrypto,
}

// Sign answers the PEM of a certificate for the request, with the request's names, the usages and a life of at most
// seconds. It refuses a request that its key did not sign, usages that x509 does not know, and when the authority's own
// certificate has expired.
func (a *Authority) Sign(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, seconds *int32, now time.Time) ([]byte, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("unable to verify certificate request signature: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: request.Subject, BasicConstraintsValid: true,
		DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, EmailAddresses: request.EmailAddresses, URIs: request.URIs,
	}
	if err := use(template, usages); err != nil {
		return nil, err
	}
	template.NotBefore, template.NotAfter = span(seconds, now, a.Certificate.NotAfter)
	if !now.Before(a.Certificate.NotAfter) {
		return nil, fmt.Errorf("the signer has expired: NotAfter=%v", a.Certificate.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, request.PublicKey, a.Key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func use(template *x509.Certificate, usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		if usage, ok := keyUsages[u]; ok {
			template.KeyUsage |= usage
			continue
		}
		usage, ok := extendedUsages[u]
		if !ok {
			return fmt.Errorf("unrecognized usage values: %q", []certificatesv1.KeyUsage{u})
		}
		if !slices.Contains(template.ExtKeyUsage, usage) {
			template.ExtKeyUsage = append(template.ExtKeyUsage, usage)
		}
	}
	slices.Sort(template.ExtKeyUsage)
	return nil
}

// span answers when a certificate begins and ends that is asked for now.
func span(seconds *int32, now, signerEnds time.Time) (from, to time.Time) {
	life := longest
	if seconds != nil {
		life = min(longest, max(shortest, time.Duration(*seconds)*time.Second))
	}
	to = now.Add(life)
	if life >= short {
		to = to.Add(-backdate)
	}
	if to.After(signerEnds) {
		to = signerEnds
	}
	return now.Add(-backdate), to
}
