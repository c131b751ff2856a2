package route

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secured says that a request came over TLS.
func secured() *tls.ConnectionState { return &tls.ConnectionState{} }

// secret holds a certificate for the names.
func secret(t *testing.T, name, version string, names ...string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: version},
		Data: map[string][]byte{
			"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
		},
	}
}

func TestCertificates(t *testing.T) {
	w := newWorld("web")
	w.secrets["listed"] = secret(t, "listed", "1", "ignored.test")
	w.secrets["named"] = secret(t, "named", "1", "own.test", "*.deep.own.test")
	w.secrets["broken"] = &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")}}
	w.secrets["short"] = &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte("x")}}
	in := ingress("in", 0, line{"a.test", "P", "/", "web"}, line{"x.wild.test", "P", "/", "web"}, line{"plain.test", "P", "/", "web"}, line{"bare.test", "P", "/", "web"})
	in.Spec.TLS = []networkingv1.IngressTLS{
		{Hosts: []string{"A.test", "*.wild.test"}, SecretName: "listed"}, {SecretName: "named"}, {Hosts: []string{"b.test"}, SecretName: "broken"},
		{Hosts: []string{"c.test"}, SecretName: "short"}, {Hosts: []string{"bare.test"}},
	}
	keypairs := &Keypairs{}
	compiled := Compile([]*networkingv1.Ingress{in}, w, keypairs)
	if len(compiled.Problems) != 2 || compiled.Problems[0].Reason != ReasonCertificate || compiled.Problems[1].Reason != ReasonCertificate {
		t.Errorf("problems: %+v", compiled.Problems)
	}
	listed := compiled.Table.Certificate("a.test")
	for name, want := range map[string]bool{"a.test": true, "A.TEST.": true, "x.wild.test": true, "x.y.wild.test": false, "wild.test": false, "ignored.test": false, "b.test": false, "": false} {
		if got := compiled.Table.Certificate(name); (got != nil && got == listed) != want {
			t.Errorf("%q: %v", name, got != nil)
		}
	}
	if compiled.Table.Certificate("own.test") == nil || compiled.Table.Certificate("x.deep.own.test") == nil {
		t.Error("a certificate doesn't serve its own names")
	}
	for host, want := range map[string]bool{"a.test": true, "x.wild.test": true, "plain.test": false, "bare.test": true} {
		if target, _ := compiled.Table.Find(host, Path{"/", "/"}, nil); target.TLS != want {
			t.Errorf("%s has TLS: %v", host, target.TLS)
		}
	}
	again := Compile([]*networkingv1.Ingress{in}, w, keypairs).Table
	if again.Certificate("a.test") != listed {
		t.Error("an unchanged Secret was read again")
	}
	w.secrets["listed"] = secret(t, "listed", "2")
	if got := Compile([]*networkingv1.Ingress{in}, w, keypairs).Table.Certificate("a.test"); got == nil || got == listed {
		t.Error("a changed Secret wasn't read again")
	}
}
