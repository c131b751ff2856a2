package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/ingress/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream is the objects behind the Ingresses of a test: Services, each with the addresses behind it, and Secrets.
type upstream struct {
	addresses map[string][]string
	protocol  map[string]string
	secrets   map[string]*corev1.Secret
}

func (u *upstream) Service(n types.NamespacedName) *corev1.Service {
	if _, ok := u.addresses[n.Name]; !ok {
		return nil
	}
	port := corev1.ServicePort{Port: 80}
	if p := u.protocol[n.Name]; p != "" {
		port.AppProtocol = &p
	}
	return &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{port}}}
}

func (u *upstream) Slices(n types.NamespacedName) (out []*discoveryv1.EndpointSlice) {
	for _, address := range u.addresses[n.Name] {
		host, text, err := net.SplitHostPort(address)
		if err != nil {
			panic(err)
		}
		number, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			panic(err)
		}
		port := int32(number)
		out = append(out, &discoveryv1.EndpointSlice{
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{host}}},
		})
	}
	return out
}

func (u *upstream) Secret(n types.NamespacedName) *corev1.Secret { return u.secrets[n.Name] }

// to is an Ingress that sends everything of a host to the Service, with annotations in pairs.
func to(host, service string, annotations ...string) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: service, Annotations: map[string]string{}}}
	for i := 0; i < len(annotations); i += 2 {
		in.Annotations[annotations[i]] = annotations[i+1]
	}
	in.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}},
	}}}}
	return in
}

// running is a proxy that serves.
type running struct {
	*Proxy
	http, https string
	world       *upstream
}

// serve runs a proxy with short times; change alters them.
func serve(t *testing.T, world *upstream, change func(*Config), ingresses ...*networkingv1.Ingress) *running {
	t.Helper()
	config := Default()
	config.DialTimeout = 2 * time.Second
	if change != nil {
		change(&config)
	}
	p, err := New(config, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Proxy: p, world: world}
	r.set(t, ingresses...)
	r.listen(t)
	return r
}

// listen serves with and without TLS until the test ends.
func (r *running) listen(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	plain, secure := listen(t), listen(t)
	r.http, r.https = plain.Addr().String(), secure.Addr().String()
	done := make(chan error, 2)
	go func() { done <- r.Serve(ctx, plain, false) }()
	go func() { done <- r.Serve(ctx, secure, true) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		r.Close()
	})
}

func (r *running) set(t *testing.T, ingresses ...*networkingv1.Ingress) {
	t.Helper()
	compiled := route.Compile(ingresses, r.world, &route.Keypairs{})
	for _, p := range compiled.Problems {
		t.Logf("%s: %s", p.Reason, p.Message)
	}
	r.SetTable(compiled.Table)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// backend is a server that ends with the test.
func backend(t *testing.T, h http.HandlerFunc, start ...func(*httptest.Server)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if len(start) == 0 {
		s.Start()
	}
	for _, f := range start {
		f(s)
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// client dials the proxy whatever the URL's host is.
func (r *running) client(t *testing.T, change ...func(*http.Transport)) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			at := r.http
			if port == "443" {
				at = r.https
			}
			return new(net.Dialer).DialContext(ctx, network, at)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
	}
	for _, f := range change {
		f(transport)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// do answers the response, read to its end, and its body.
func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return resp, string(data)
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	return do(t, c, request(t, http.MethodGet, url, nil))
}

// secret holds a certificate whose common name is name.
func secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}}
}

// eventually repeats check until it is nil; there is no other way to know what a socket does.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("%s: %w", what, err))
		}
	}
}
