package ingress_test

import (
	"bufio"
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
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"skiff/apis/server"
	"skiff/ingress"
	"skiff/ingress/proxy"
	"skiff/test/env"
)

const nodeAddress = "192.0.2.7"

// cluster is an API with a running ingress.
type cluster struct {
	kubernetes.Interface
	customs dynamic.Interface
	own     *rest.Config
	t       *testing.T
	events  *record.FakeRecorder
	host    string // that it listens at
}

// start runs an ingress at ports of an address of 127/8 that no other test has.
func start(t *testing.T, host string) *cluster {
	t.Helper()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Ingress = true }})
	c := &cluster{Interface: kubernetes.NewForConfigOrDie(s.Admin()), customs: dynamic.NewForConfigOrDie(s.Admin()), t: t, events: record.NewFakeRecorder(100), host: host}
	c.own = s.Config(ingress.Account, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
	t.Cleanup(c.run())
	return c
}

// run runs the ingress until the answered function is called, once or more often.
func (c *cluster) run() (stop func()) {
	t := c.t
	t.Helper()
	factory := informers.NewSharedInformerFactory(c, 0)
	i, err := ingress.New(ingress.Config{
		Addresses: []netip.Addr{netip.MustParseAddr(nodeAddress)}, Host: c.host, Proxy: proxy.Default(),
		HTTP: ingress.Port{Number: 18080, Flag: "ingress-http-port"}, HTTPS: ingress.Port{Number: 18443, Flag: "ingress-https-port"},
	}, ingress.Deps{
		Client: kubernetes.NewForConfigOrDie(c.own), Dynamic: dynamic.NewForConfigOrDie(c.own), Informers: factory, Events: c.events,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
}

// must fails the test on an error of a call that answers an object.
func must[T any](t *testing.T) func(T, error) T {
	return func(o T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
}

// service makes a Service whose endpoint answers with its name.
func (c *cluster) service(name string) {
	c.t.Helper()
	here := reachable(c.t)
	l, err := new(net.ListenConfig).Listen(c.t.Context(), "tcp", net.JoinHostPort(here, "0"))
	if err != nil {
		c.t.Fatal(err)
	}
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	_ = backend.Listener.Close()
	backend.Listener = l
	backend.Start()
	c.t.Cleanup(backend.Close)
	_, text, _ := net.SplitHostPort(l.Addr().String())
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		c.t.Fatal(err)
	}
	port := int32(number)
	must[*discoveryv1.EndpointSlice](c.t)(c.DiscoveryV1().EndpointSlices("default").Create(c.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{here}}},
	}, metav1.CreateOptions{}))
	must[*corev1.Service](c.t)(c.CoreV1().Services("default").Create(c.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}))
}

// reachable is an address of this host that an endpoint may have, which no loopback address is.
func reachable(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this host has no address but loopback ones")
	return ""
}

func (c *cluster) ingress(name, class, host, service string) *networkingv1.Ingress {
	c.t.Helper()
	prefix := networkingv1.PathTypePrefix
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if class != "" {
		in.Spec.IngressClassName = &class
	}
	in.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: name}}
	in.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}},
	}}}}
	return must[*networkingv1.Ingress](c.t)(c.NetworkingV1().Ingresses("default").Create(c.t.Context(), in, metav1.CreateOptions{}))
}

// ask answers the status and the body for a host; 0 if nobody listens.
func (c *cluster) ask(host string) (int, string) {
	ctx := c.t.Context()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.host+":18080")
	if err != nil {
		return 0, ""
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// shown answers the name in the certificate for a host.
func (c *cluster) shown(host string) string {
	conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}).DialContext(c.t.Context(), "tcp", c.host+":18443")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames[0]
}

func (c *cluster) address(name string) string {
	in, err := c.NetworkingV1().Ingresses("default").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, p := range in.Status.LoadBalancer.Ingress {
		out = append(out, p.IP+p.Hostname)
	}
	return strings.Join(out, " ")
}

func eventually[T comparable](t *testing.T, what string, want T, get func() T) {
	t.Helper()
	var got T
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: got %v, want %v", what, got, want)
}

func (c *cluster) answers(host string, status int, body string) {
	c.t.Helper()
	eventually(c.t, "asking "+host, fmt.Sprint(status, body), func() string { s, b := c.ask(host); return fmt.Sprint(s, b) })
}

// TestLife follows an Ingress from its creation through the arrival of all that it names to another class and its end.
func TestLife(t *testing.T) {
	t.Parallel()
	c := start(t, "127.101.0.1")
	ctx := t.Context()
	if status, _ := c.ask("a.test"); status != 0 {
		t.Errorf("listens without an Ingress: %d", status)
	}
	c.ingress("first", "", "a.test", "web") // admission gives it the default class
	c.answers("a.test", 503, "503 Service Unavailable: no endpoint is ready\n")
	eventually(t, "its address", nodeAddress, func() string { return c.address("first") })
	heard := []string{<-c.events.Events, <-c.events.Events}
	slices.Sort(heard)
	for i, want := range []string{
		`Warning SecretNotFound spec.tls[0]: Secret "first" doesn't exist`, `Warning ServiceNotFound spec.rules[0].http.paths[0]: Service "web" doesn't exist`,
	} {
		if !strings.HasPrefix(heard[i], want) {
			t.Errorf("heard %q", heard[i])
		}
	}
	c.service("web")
	c.answers("a.test", 200, "web")
	eventually(t, "the default certificate", "ingress.invalid", func() string { return c.shown("a.test") })
	secret := must[*corev1.Secret](t)(c.CoreV1().Secrets("default").Create(ctx, certificate(t, "first", "one.test"), metav1.CreateOptions{}))
	eventually(t, "the certificate", "one.test", func() string { return c.shown("a.test") })
	secret.Data = certificate(t, "first", "two.test").Data
	must[*corev1.Secret](t)(c.CoreV1().Secrets("default").Update(ctx, secret, metav1.UpdateOptions{}))
	eventually(t, "the new certificate", "two.test", func() string { return c.shown("a.test") })

	c.ingress("foreign", "other", "b.test", "web")
	c.ingress("second", "skiff", "c.test", "web")
	c.answers("c.test", 200, "web")
	c.answers("b.test", 404, "404 Not Found: no route for this host and path\n")

	in := must[*networkingv1.Ingress](t)(c.NetworkingV1().Ingresses("default").Get(ctx, "second", metav1.GetOptions{}))
	other := "other"
	in.Spec.IngressClassName = &other
	must[*networkingv1.Ingress](t)(c.NetworkingV1().Ingresses("default").Update(ctx, in, metav1.UpdateOptions{}))
	c.answers("c.test", 404, "404 Not Found: no route for this host and path\n")
	eventually(t, "its address with another class", "", func() string { return c.address("second") })

	if err := c.NetworkingV1().Ingresses("default").Delete(ctx, "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the port without an Ingress", 0, func() int { s, _ := c.ask("a.test"); return s })
	if c.address("foreign") != "" {
		t.Error("the address was written to an Ingress of another class")
	}
}

// TestForeignAddress leaves what another controller wrote, though it is this node's address.
func TestForeignAddress(t *testing.T) {
	t.Parallel()
	c := start(t, "127.101.0.2")
	ctx := t.Context()
	c.service("web")
	in := c.ingress("foreign", "other", "b.test", "web")
	in.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: nodeAddress}}
	must[*networkingv1.Ingress](t)(c.NetworkingV1().Ingresses("default").UpdateStatus(ctx, in, metav1.UpdateOptions{FieldManager: "other"}))
	c.ingress("own", "skiff", "a.test", "web")
	c.answers("a.test", 200, "web")
	eventually(t, "the own address", nodeAddress, func() string { return c.address("own") })
	if got := c.address("foreign"); got != nodeAddress {
		t.Errorf("the foreign address is %q", got)
	}
}

// TestPortInUse tells of it at the Ingress, serves at the other port, and takes the port when it is free.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	const host = "127.101.0.3"
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", host+":18443")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c := start(t, host)
	c.service("web")
	c.ingress("in", "skiff", "a.test", "web")
	c.answers("a.test", 200, "web")
	for said := ""; !strings.HasPrefix(said, "Warning PortUnavailable port 18443 of the node is in use: "); said = <-c.events.Events {
	}
	_ = taken.Close()
	c.service("other") // of no interest
	eventually(t, "the certificate", "ingress.invalid", func() string { return c.shown("a.test") })
}

// TestRestart: an Ingress keeps its address while the ingress ends and starts, and is served again.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Ingress = true }})
	c := &cluster{
		Interface: kubernetes.NewForConfigOrDie(s.Admin()), customs: dynamic.NewForConfigOrDie(s.Admin()), t: t, events: record.NewFakeRecorder(100), host: "127.101.0.5",
		own: s.Config(ingress.Account, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"),
	}
	stop := c.run()
	c.service("web")
	c.ingress("in", "skiff", "a.test", "web")
	c.answers("a.test", 200, "web")
	eventually(t, "its address", nodeAddress, func() string { return c.address("in") })
	version := func() string {
		return must[*networkingv1.Ingress](t)(c.NetworkingV1().Ingresses("default").Get(t.Context(), "in", metav1.GetOptions{})).ResourceVersion
	}
	before := version()
	stop()
	if status, _ := c.ask("a.test"); status != 0 {
		t.Errorf("served by nobody: %d", status)
	}
	t.Cleanup(c.run())
	c.answers("a.test", 200, "web")
	c.ingress("other", "skiff", "b.test", "web")
	eventually(t, "the other's address", nodeAddress, func() string { return c.address("other") })
	if version() != before {
		t.Error("the address was written though it is the same")
	}
}

func TestAddresses(t *testing.T) {
	own, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")
	nodes := map[string]bool{"192.0.2.1": true, "192.0.2.2": true}
	point := func(texts ...string) (out []networkingv1.IngressLoadBalancerIngress) {
		for _, text := range texts {
			out = append(out, networkingv1.IngressLoadBalancerIngress{IP: text})
		}
		return out
	}
	for name, c := range map[string]struct {
		has  []networkingv1.IngressLoadBalancerIngress
		now  []netip.Addr
		want []networkingv1.IngressLoadBalancerIngress
	}{
		"new":                {nil, []netip.Addr{own, two}, point("192.0.2.1", "fd00::1")},
		"beside another's":   {point("192.0.2.2"), []netip.Addr{own}, point("192.0.2.1", "192.0.2.2")},
		"a node that's gone": {point("192.0.2.1", "192.0.2.9"), []netip.Addr{own}, point("192.0.2.1")},
		"no longer":          {point("192.0.2.1", "192.0.2.2", "fd00:0::1"), nil, point("192.0.2.2")},
		"somebody's name":    {[]networkingv1.IngressLoadBalancerIngress{{Hostname: "lb.test"}}, []netip.Addr{own}, point("192.0.2.1")},
	} {
		if got := ingress.Addresses(c.has, c.now, []netip.Addr{own, two}, nodes); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func certificate(t *testing.T, name, host string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}}
}

// TestNodeMoves takes an address out of statuses when no node has it any more.
func TestNodeMoves(t *testing.T) {
	t.Parallel()
	const before = "203.0.113.9"
	c := start(t, "127.101.0.9")
	node := must[*corev1.Node](t)(c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}, metav1.CreateOptions{}))
	moves := func(address string) {
		t.Helper()
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		node = must[*corev1.Node](t)(c.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}))
	}
	moves(before)
	c.service("web")
	c.ingress("in", "skiff", "a.test", "web")
	eventually(t, "the address", nodeAddress, func() string { return c.address("in") })
	eventually(t, "both addresses", nodeAddress+" "+before, func() string {
		if now := c.address("in"); now != nodeAddress {
			return now
		}
		in := must[*networkingv1.Ingress](t)(c.NetworkingV1().Ingresses("default").Get(t.Context(), "in", metav1.GetOptions{}))
		in.Status.LoadBalancer.Ingress = append(in.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: before})
		must[*networkingv1.Ingress](t)(c.NetworkingV1().Ingresses("default").UpdateStatus(t.Context(), in, metav1.UpdateOptions{}))
		return c.address("in")
	})
	moves(nodeAddress)
	eventually(t, "the address that is left", nodeAddress, func() string { return c.address("in") })
}
