package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"skiff/config/pki"
	"skiff/internal/jointoken"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// signer signs like the cluster's authority.
type signer struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	life   time.Duration
	issued atomic.Int64
}

func newSigner(t *testing.T, life time.Duration) *signer {
	t.Helper()
	p, err := pki.Load(pki.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{life: life}
	s.cert, s.key = p.Authority()
	return s
}

func (s *signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
}

func (s *signer) sign(t *testing.T, template *x509.Certificate, key any) []byte {
	t.Helper()
	template.SerialNumber = big.NewInt(s.issued.Add(1))
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, key, s.key)
	if err != nil {
		t.Error(err)
	}
	return der
}

// client approves and signs each request at once.
func (s *signer) client(t *testing.T, objects ...runtime.Object) *fake.Clientset {
	t.Helper()
	client := fake.NewClientset(objects...)
	client.PrependReactor("create", "certificatesigningrequests", func(action clienttesting.Action) (bool, runtime.Object, error) {
		csr := action.(clienttesting.CreateAction).GetObject().(*certificatesv1.CertificateSigningRequest)
		block, _ := pem.Decode(csr.Spec.Request)
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return true, nil, err
		}
		now := time.Now()
		der := s.sign(t, &x509.Certificate{
			Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, NotBefore: now, NotAfter: now.Add(s.life),
		}, request.PublicKey)
		csr.Name = "csr-" + string(csr.Spec.Usages[1][0]) + time.Now().Format("150405.000000000")
		csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
		csr.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		return false, nil, nil
	})
	client.PrependReactor("list", "certificatesigningrequests", func(action clienttesting.Action) (bool, runtime.Object, error) {
		list, err := client.Tracker().List(certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"), certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), "")
		all, ok := list.(*certificatesv1.CertificateSigningRequestList)
		if err != nil || !ok {
			return true, nil, err
		}
		// What the real API selects by; the fake one answers everything.
		all.Items = slices.DeleteFunc(all.Items, func(csr certificatesv1.CertificateSigningRequest) bool {
			return !action.(clienttesting.ListAction).GetListRestrictions().Fields.Matches(fields.Set{"metadata.name": csr.Name})
		})
		return true, all, nil
	})
	return client
}

func configIn(dir string) Config {
	return Config{Dir: dir, Server: &url.URL{Scheme: "https", Host: "192.0.2.10:6443"}, Node: "a", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.11")}}
}

// TestRotation renews certificates that live for seconds, while others read them.
func TestRotation(t *testing.T) {
	s := newSigner(t, 3*time.Second)
	c := configIn(t.TempDir())
	if err := replace(c.file("ca.crt"), s.pem()); err != nil {
		t.Fatal(err)
	}
	client := s.client(t)
	if err := c.kubelet().request(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if joined, err := c.Joined(); err != nil || !joined {
		t.Fatalf("joined: %v, %v", joined, err)
	}
	creds, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	creds.client = client
	creds.look = 100 * time.Millisecond
	if _, err := creds.Certificate(); err == nil {
		t.Error("there is a serving certificate before one was asked for")
	}
	if err := creds.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- creds.Run(ctx) }()
	serials := map[string]bool{}
	for deadline := time.Now().Add(20 * time.Second); len(serials) < 3 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		cert, err := creds.Certificate()
		if err != nil {
			continue
		}
		if time.Now().After(cert.Leaf.NotAfter) || cert.Leaf.Subject.CommonName != "system:node:a" || !cert.Leaf.IPAddresses[0].Equal(net.IPv4(192, 0, 2, 11)) || cert.Leaf.DNSNames[0] != "a" {
			t.Fatalf("it serves with %v until %s", cert.Leaf.Subject, cert.Leaf.NotAfter)
		}
		serials[cert.Leaf.SerialNumber.String()] = true
	}
	cancel()
	if err := <-done; err != nil || len(serials) < 3 {
		t.Errorf("%v, certificates %v", err, serials)
	}
	for _, k := range []kept{c.kubelet(), c.agent(), c.serving()} {
		info, err := os.Stat(k.file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", k.file, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(c.Dir, ".*")); len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

// A host that joins another cluster keeps no certificate of the one before.
func TestAnotherClustersCertificatesGo(t *testing.T) {
	first, second := newSigner(t, time.Hour), newSigner(t, time.Hour)
	c := configIn(t.TempDir())
	for _, s := range []*signer{first, first, second} {
		if err := c.trust(s.pem()); err != nil {
			t.Fatal(err)
		}
		cert, err := c.agent().read()
		if err != nil {
			t.Fatal(err)
		}
		if s == second && cert != nil {
			t.Error("the certificate of another cluster is kept")
		}
		if cert == nil {
			if err := c.agent().request(t.Context(), s.client(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestGood tells which certificates do, and when they are renewed.
func TestGood(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := configIn("/x").serving()
	make1 := func(name string, dns []string, ips []net.IP) *tls.Certificate {
		return &tls.Certificate{Leaf: &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: dns, IPAddresses: ips, NotBefore: now, NotAfter: now.Add(100 * time.Hour)}}
	}
	ip := []net.IP{net.IPv4(192, 0, 2, 11)}
	right := make1("system:node:a", []string{"a"}, ip)
	for name, tt := range map[string]struct {
		cert *tls.Certificate
		at   time.Time
		good bool
	}{
		"none": {nil, now, false}, "right": {right, now, true}, "about to end": {right, now.Add(99 * time.Hour), true}, "ended": {right, now.Add(100 * time.Hour), false},
		"another node's": {make1("system:node:b", []string{"a"}, ip), now, false}, "another address": {make1("system:node:a", []string{"a"}, []net.IP{net.IPv4(192, 0, 2, 12)}), now, false},
		"no name": {make1("system:node:a", nil, ip), now, false},
	} {
		renew, good := k.good(tt.cert, tt.at)
		if good != tt.good || good && !renew.Equal(now.Add(80*time.Hour)) {
			t.Errorf("%s: %v, renew at %s", name, good, renew)
		}
	}
}

// server serves TLS with a certificate for the host, of the signer's or another's authority, with the given life.
func server(t *testing.T, s *signer, host string, from, to time.Time, show bool) (*url.URL, func() int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.ParseIP(host)}}
	chain := [][]byte{s.sign(t, template, key.Public())}
	if show {
		chain = append(chain, s.cert.Raw)
	}
	var asked atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, func() int { return int(asked.Load()) }
}

func TestAuthority(t *testing.T) {
	s, other := newSigner(t, time.Hour), newSigner(t, time.Hour)
	now := time.Now()
	good, _ := server(t, s, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour), true)
	ca, err := authority(t.Context(), good, jointoken.PinOf(s.cert))
	if err != nil || string(ca) != string(s.pem()) {
		t.Errorf("authority %s, %v", ca, err)
	}
	silent, _ := server(t, s, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour), false)
	renamed, _ := server(t, s, "192.0.2.1", now.Add(-time.Hour), now.Add(time.Hour), true)
	early, _ := server(t, s, "127.0.0.1", now.Add(time.Hour), now.Add(2*time.Hour), true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := &url.URL{Scheme: "https", Host: l.Addr().String()}
	_ = l.Close()
	for want, tt := range map[string]struct {
		at  *url.URL
		pin jointoken.Pin
	}{
		"is not the one that the token is of": {good, jointoken.PinOf(other.cert)},
		"shows no certificate authority":      {silent, jointoken.PinOf(s.cert)},
		"is no name of the server":            {renamed, jointoken.PinOf(s.cert)},
		"set the clock of this host":          {early, jointoken.PinOf(s.cert)},
		"can't reach https://" + closed.Host:  {closed, jointoken.PinOf(s.cert)},
	} {
		_, err := authority(t.Context(), tt.at, tt.pin)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestAFalseServerLearnsNothing: an authority that merely shows the pinned one behind its own certificate isn't it.
func TestAFalseServerLearnsNothing(t *testing.T) {
	s, false1 := newSigner(t, time.Hour), newSigner(t, time.Hour)
	mixed := &signer{cert: false1.cert, key: false1.key}
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := mixed.sign(t, &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, key.Public())
	asked := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf, s.cert.Raw}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := configIn(t.TempDir())
	c.Server = u
	err = Join(t.Context(), c, jointoken.Token{Pin: jointoken.PinOf(s.cert), ID: "abcdef", Secret: "0123456789abcdef"})
	if err == nil || asked > 0 {
		t.Errorf("joined (%v), %d requests", err, asked)
	}
	if files, _ := os.ReadDir(c.Dir); len(files) > 0 {
		t.Errorf("files: %v", files)
	}
}

func TestFree(t *testing.T) {
	node := func(status corev1.ConditionStatus) *corev1.Node {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}}}
		n.Name = "a"
		return n
	}
	c, token := configIn("/x"), jointoken.Token{ID: "abcdef"}
	if err := free(t.Context(), fake.NewClientset(), c, token); err != nil {
		t.Error(err)
	}
	if err := free(t.Context(), fake.NewClientset(node(corev1.ConditionUnknown)), c, token); err != nil {
		t.Error(err)
	}
	if err := free(t.Context(), fake.NewClientset(node(corev1.ConditionTrue)), c, token); err == nil || !strings.Contains(err.Error(), "a node a is in the cluster and Ready") {
		t.Errorf("taken: %v", err)
	}
}
