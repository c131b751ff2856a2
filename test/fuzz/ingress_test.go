package fuzz

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/ingress/proxy"
	"skiff/ingress/route"
)

// behind is one Service, of any name, with one endpoint.
type behind struct{ port int32 }

func (b behind) Service(types.NamespacedName) *corev1.Service {
	return &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
}

func (b behind) Slices(types.NamespacedName) []*discoveryv1.EndpointSlice {
	name := "http"
	return []*discoveryv1.EndpointSlice{{
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &b.port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}}
}

func (b behind) Secret(types.NamespacedName) *corev1.Secret { return nil }

// FuzzIngress compiles whatever can be written down as an Ingress, and looks requests up: what is found belongs to a rule
// whose host and path fit.
func FuzzIngress(f *testing.F) {
	for _, s := range []string{
		`{"defaultBackend":{"service":{"name":"a","port":{"number":80}}}}`, `{"defaultBackend":{}}`, `{"tls":[{},{"hosts":["*","","*.a"],"secretName":"x"}]}`,
		`{"rules":[{},{"host":"*.a.test","http":{"paths":[{"path":"/a/","pathType":"Prefix","backend":{"service":{"name":"a","port":{"name":"http"}}}}]}}]}`,
		`{"rules":[{"host":"a.test","http":{"paths":[{"path":"/a","pathType":"Exact","backend":{"resource":{"kind":"X","name":"y"}}},{"path":"","backend":{}},{"path":"x/*","pathType":"?","backend":{}}]}}]}`,
	} {
		f.Add([]byte(s), "a.test", "/a/b")
		f.Add([]byte(s), "x.a.test:80", "/a/%2e%2e/%2F.")
	}
	f.Fuzz(func(t *testing.T, spec []byte, host, escaped string) {
		in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "in"}}
		if json.Unmarshal(spec, &in.Spec) != nil {
			t.Skip()
		}
		compiled := route.Compile([]*networkingv1.Ingress{in, in.DeepCopy()}, behind{80}, &route.Keypairs{})
		for _, p := range compiled.Problems {
			if p.Reason == "" || strings.Contains(p.Message, "\n") {
				t.Errorf("problem %+v", p)
			}
		}
		compiled.Table.Certificate(host)
		at, ok := route.ParsePath(escaped)
		if !ok {
			return
		}
		if again, ok := route.ParsePath(at.Escaped); !ok || again != at {
			t.Errorf("%q is read as %q, and that as %q", escaped, at, again)
		}
		if strings.Contains(at.Match+"/", "/../") || strings.Contains(at.Match+"/", "/./") {
			t.Errorf("%q is read as %q", escaped, at)
		}
		if target, ok := compiled.Table.Find(route.ParseHost(host), at, &http.Request{}); ok && (target == nil || len(target.Backends) != 1) {
			t.Errorf("a target without a backend: %+v", target)
		}
	})
}

// FuzzIngressRequest sends bytes to an ingress that has a route for /open only. Whatever they are, the backend gets no
// request for anything else, and the next client is served.
func FuzzIngressRequest(f *testing.F) {
	for _, s := range []string{
		"GET /open HTTP/1.1\r\nHost: a\r\n\r\n", "GET /open/../secret HTTP/1.1\r\nHost: a\r\n\r\n", "GET /open/%2e%2e/secret HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"GET http://b/open?x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\nabc", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "GET /open HTTP/1.0\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "\x16\x03\x01",
		"POST /open HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nTe: trailers\r\n\r\nabcGET /open/ HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	if coordinates() {
		f.Fuzz(func(*testing.T, []byte) {})
		return
	}
	wrong := make(chan string, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if clean := path.Clean(r.URL.Path); clean != "/open" && !strings.HasPrefix(clean, "/open/") {
			select {
			case wrong <- r.RequestURI:
			default:
			}
		}
	}))
	f.Cleanup(backend.Close)
	at := serveOpen(f, backend.Listener.Addr().String())
	f.Fuzz(func(t *testing.T, data []byte) {
		exchange(t, at, string(data))
		select {
		case uri := <-wrong:
			t.Errorf("the backend was asked for %q", uri)
		default:
		}
		if got := exchange(t, at, "GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("the next client got %q", got)
		}
	})
}

// serveOpen runs an ingress with one route and answers its address.
func serveOpen(f *testing.F, backend string) string {
	f.Helper()
	config := proxy.Default()
	config.HeaderTimeout, config.StallTimeout = time.Second, time.Second
	p, err := proxy.New(config, proxy.Deps{})
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := net.SplitHostPort(backend)
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		f.Fatal(err)
	}
	var in networkingv1.Ingress
	if err := json.Unmarshal([]byte(`{"spec":{"rules":[{"http":{"paths":[{"path":"/open","pathType":"Prefix","backend":{"service":{"name":"a","port":{"number":80}}}}]}}]}}`), &in); err != nil {
		f.Fatal(err)
	}
	p.SetTable(route.Compile([]*networkingv1.Ingress{&in}, behind{int32(port)}, &route.Keypairs{}).Table)
	l, err := new(net.ListenConfig).Listen(f.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l, false) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
		p.Close()
	})
	return l.Addr().String()
}

// exchange sends bytes, and no more, and answers what comes back until the other side ends.
func exchange(t *testing.T, at, data string) string {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, data) // it may be answered before all of it is sent
	_ = c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("%q is not answered, and the connection is open", data)
	}
	return string(got)
}
