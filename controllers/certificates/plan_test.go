package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/signing"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRequest(t *testing.T, template x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func newAuthority(t *testing.T, ends time.Time) *Authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{Certificate: cert, Key: key}
}

func TestNext(t *testing.T) {
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	conditions := func(kind certificatesv1.RequestConditionType, d time.Duration) []certificatesv1.CertificateSigningRequestCondition {
		return []certificatesv1.CertificateSigningRequestCondition{{Type: kind, Status: "True", LastUpdateTime: ago(d)}}
	}
	request, err := signing.Parse(newRequest(t, x509.CertificateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	seconds := int32(600)
	cert, err := newAuthority(t, now.Add(1e6*time.Second)).Sign(request, nil, &seconds, now)
	if err != nil {
		t.Fatal(err)
	}
	const own, foreign = certificatesv1.KubeAPIServerClientSignerName, "example.com/signer"
	for name, tt := range map[string]struct {
		age        time.Duration
		signer     string
		conditions []certificatesv1.CertificateSigningRequestCondition
		cert       []byte
		want       Action
		again      time.Duration
	}{
		"new":              {time.Hour, own, nil, nil, Approve, 23 * time.Hour},
		"old":              {24 * time.Hour, own, nil, nil, Delete, 0},
		"approved":         {time.Hour, own, conditions("Approved", time.Minute), nil, Sign, 24*time.Hour - time.Minute},
		"another signer's": {time.Hour, foreign, conditions("Approved", time.Minute), nil, Wait, 24*time.Hour - time.Minute},
		"never signed":     {25 * time.Hour, foreign, conditions("Approved", 25*time.Hour), nil, Delete, 0},
		"issued":           {time.Hour, own, conditions("Approved", time.Minute), cert, Wait, 10 * time.Minute},
		"issued long ago":  {time.Hour, own, conditions("Approved", time.Hour), cert, Delete, 0},
		"denied":           {time.Hour, own, conditions("Denied", time.Minute), nil, Wait, 59 * time.Minute},
		"denied long ago":  {2 * time.Hour, own, conditions("Denied", time.Hour), nil, Delete, 0},
		"failed":           {time.Hour, own, append(conditions("Approved", time.Minute), conditions("Failed", time.Minute)...), nil, Wait, 59 * time.Minute},
	} {
		csr := &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: ago(tt.age)}, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: tt.signer},
			Status: certificatesv1.CertificateSigningRequestStatus{Conditions: tt.conditions, Certificate: tt.cert},
		}
		if got, again := Next(csr, now); got != tt.want || again != tt.again {
			t.Errorf("%s: %d in %s, want %d in %s", name, got, again, tt.want, tt.again)
		}
	}
}

func TestValid(t *testing.T) {
	node := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	ip := []net.IP{net.IPv4(192, 0, 2, 1)}
	client := []certificatesv1.KeyUsage{"client auth", "digital signature"}
	server := []certificatesv1.KeyUsage{"server auth", "key encipherment", "digital signature"}
	for name, tt := range map[string]struct {
		signer  string
		request x509.CertificateRequest
		usages  []certificatesv1.KeyUsage
		want    string
	}{
		"kubelet":              {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node}, client, ""},
		"kubelet, other usage": {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node}, server, "usages did not match [client auth digital signature key encipherment]"},
		"kubelet, address":     {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node, IPAddresses: ip}, client, "IP subjectAltNames are not allowed"},
		"kubelet, name":        {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node, DNSNames: []string{"a"}}, client, "DNS subjectAltNames are not allowed"},
		"not a node":           {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: pkix.Name{CommonName: "x", Organization: []string{"system:nodes"}}}, client, "subject common name does not begin with system:node:"},
		"no group":             {certificatesv1.KubeletServingSignerName, x509.CertificateRequest{}, server, "subject organization is not system:nodes"},
		"serving":              {certificatesv1.KubeletServingSignerName, x509.CertificateRequest{Subject: node, IPAddresses: ip}, server, ""},
		"serving nowhere":      {certificatesv1.KubeletServingSignerName, x509.CertificateRequest{Subject: node}, server, "DNS or IP subjectAltName is required"},
		"serving mail":         {certificatesv1.KubeletServingSignerName, x509.CertificateRequest{Subject: node, IPAddresses: ip, EmailAddresses: []string{"a@b"}}, server, "Email subjectAltNames are not allowed"},
		"client":               {certificatesv1.KubeAPIServerClientSignerName, x509.CertificateRequest{}, client, ""},
		"client, other usage":  {certificatesv1.KubeAPIServerClientSignerName, x509.CertificateRequest{}, server, "invalid usage for client certificate: server auth"},
		"client, no usage":     {certificatesv1.KubeAPIServerClientSignerName, x509.CertificateRequest{}, nil, "missing required usage for client certificate: client auth"},
		"legacy":               {legacyUnknown, x509.CertificateRequest{}, server, ""},
	} {
		got := ""
		if err := valid(tt.signer, &tt.request, tt.usages); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestSign(t *testing.T) {
	request, err := signing.Parse(newRequest(t, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{"dev"}}, DNSNames: []string{"jane.example.com"}}))
	if err != nil {
		t.Fatal(err)
	}
	year, hour, minute := int32(2*365*24*3600), int32(3600), int32(60)
	for name, tt := range map[string]struct {
		seconds *int32
		ends    time.Time
		want    time.Time
	}{
		"default":           {nil, now.AddDate(10, 0, 0), now.Add(longest - backdate)},
		"too long":          {&year, now.AddDate(10, 0, 0), now.Add(longest - backdate)},
		"short":             {&hour, now.AddDate(10, 0, 0), now.Add(time.Hour)},
		"too short":         {&minute, now.AddDate(10, 0, 0), now.Add(10 * time.Minute)},
		"signer ends first": {nil, now.Add(time.Hour), now.Add(time.Hour)},
	} {
		authority := newAuthority(t, tt.ends)
		data, err := authority.Sign(request, []certificatesv1.KeyUsage{"client auth", "digital signature", "server auth", "client auth"}, tt.seconds, now)
		if err != nil {
			t.Fatal(err)
		}
		cert := certificate(data)
		if !cert.NotAfter.Equal(tt.want) || !cert.NotBefore.Equal(now.Add(-backdate)) {
			t.Errorf("%s: from %s to %s, want %s", name, cert.NotBefore, cert.NotAfter, tt.want)
		}
		if err := cert.CheckSignatureFrom(authority.Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cert.Subject.String() != request.Subject.String() || !slices.Equal(cert.DNSNames, request.DNSNames) || cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.ExtKeyUsage) != 2 {
			t.Errorf("%s: %+v", name, cert)
		}
	}
	if _, err := newAuthority(t, now).Sign(request, nil, nil, now); err == nil || !strings.Contains(err.Error(), "the signer has expired") {
		t.Errorf("expired signer: %v", err)
	}
	if _, err := newAuthority(t, now.Add(time.Hour)).Sign(request, []certificatesv1.KeyUsage{"magic"}, nil, now); err == nil || err.Error() != `unrecognized usage values: ["magic"]` {
		t.Errorf("unknown usage: %v", err)
	}
	request.Signature[0]++
	if _, err := newAuthority(t, now.Add(time.Hour)).Sign(request, nil, nil, now); err == nil {
		t.Error("a request with a wrong signature was signed")
	}
}
