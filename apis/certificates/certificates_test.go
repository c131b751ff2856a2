package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"skiff/apis/validate"
)

func request(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestRequesterIsTheCaller(t *testing.T) {
	ctx := genericrequest.WithUser(context.Background(), &user.DefaultInfo{Name: "alice", Groups: []string{"dev"}})
	r := &certificatesv1.CertificateSigningRequest{}
	r.Spec.Username, r.Spec.Groups = "admin", []string{"system:masters"}
	prepareCSR(ctx, r, nil)
	if r.Spec.Username != "alice" || len(r.Spec.Groups) != 1 || r.Spec.Groups[0] != "dev" {
		t.Fatalf("got %+v", r.Spec)
	}
	later := r.DeepCopy()
	later.Spec.Username = "admin"
	prepareCSR(ctx, later, r)
	if later.Spec.Username != "alice" {
		t.Fatal("an update changed who asked")
	}
}

func TestValidateCSR(t *testing.T) {
	short := int32(10)
	for name, c := range map[string]struct {
		change func(*certificatesv1.CertificateSigningRequestSpec)
		want   string
	}{
		"valid":   {func(*certificatesv1.CertificateSigningRequestSpec) {}, ""},
		"no PEM":  {func(s *certificatesv1.CertificateSigningRequestSpec) { s.Request = []byte("x") }, "PEM block type must be CERTIFICATE REQUEST"},
		"legacy":  {func(s *certificatesv1.CertificateSigningRequestSpec) { s.SignerName = legacySigner }, "the legacy signerName is not allowed"},
		"plain":   {func(s *certificatesv1.CertificateSigningRequestSpec) { s.SignerName = "web" }, "must be a fully qualified domain and path"},
		"twice":   {func(s *certificatesv1.CertificateSigningRequestSpec) { s.Usages = append(s.Usages, s.Usages[0]) }, "Duplicate value"},
		"instant": {func(s *certificatesv1.CertificateSigningRequestSpec) { s.ExpirationSeconds = &short }, "600 seconds"},
	} {
		r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: request(t), SignerName: "example.org/web", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		}}
		c.change(&r.Spec)
		got := validateCSR(context.Background(), r, nil).ToAggregate()
		if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
}

// Only /approval approves, and nobody takes an approval back.
func TestApprovalIsNotTheSigners(t *testing.T) {
	verdict := []certificatesv1.CertificateSigningRequestCondition{{Type: approved, Status: corev1.ConditionTrue}}
	pending, done := &certificatesv1.CertificateSigningRequest{}, &certificatesv1.CertificateSigningRequest{}
	pending.ResourceVersion, done.ResourceVersion = "1", "1"
	done.Status.Conditions = verdict
	if errs := validateCSRStatus(context.Background(), done, pending); !strings.Contains(errs.ToAggregate().Error(), `may not add a condition of type "Approved"`) {
		t.Error(errs)
	}
	s := approvalStrategy{}
	if errs := s.ValidateUpdate(context.Background(), done, pending); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := s.ValidateUpdate(context.Background(), pending, done); len(errs) == 0 {
		t.Error("an approval was taken back")
	}
}

func TestBundleNames(t *testing.T) {
	for _, c := range []struct {
		signer, name string
		ok           bool
	}{{"", "plain", true}, {"", "a:b", false}, {"example.org/mesh", "example.org:mesh:v1", true}, {"example.org/mesh", "v1", false}} {
		if got := validate.BundleName(c.signer)(c.name, false); (len(got) == 0) != c.ok {
			t.Errorf("%q of %q: %v", c.name, c.signer, got)
		}
	}
}
