package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

func tlsOf(secretName string, hosts ...string) networkingv1.IngressTLS {
	return networkingv1.IngressTLS{SecretName: secretName, Hosts: hosts}
}

// TestServerNames: each name has its certificate, a changed one is served to who comes next, and a connection that is open
// goes on.
func TestServerNames(t *testing.T) {
	t.Parallel()
	world := &upstream{
		addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") })}},
		secrets:   map[string]*corev1.Secret{"a": secret(t, "a.test"), "wild": secret(t, "wild.test")},
	}
	in := to("", "web")
	in.Spec.TLS = []networkingv1.IngressTLS{tlsOf("a", "a.test"), tlsOf("wild", "*.wild.test"), tlsOf("none", "none.test")}
	p := serve(t, world, nil, in)
	shown := func(name string) string {
		t.Helper()
		c, err := (&tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2"}}}).DialContext(t.Context(), "tcp", p.https)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		state := c.(*tls.Conn).ConnectionState()
		if state.NegotiatedProtocol != "h2" {
			t.Errorf("%s: protocol %q", name, state.NegotiatedProtocol)
		}
		return state.PeerCertificates[0].DNSNames[0]
	}
	for name, want := range map[string]string{"a.test": "a.test", "x.wild.test": "wild.test", "none.test": "ingress.invalid", "other.test": "ingress.invalid", "": "ingress.invalid"} {
		if got := shown(name); got != want {
			t.Errorf("%q is shown the certificate of %s", name, got)
		}
	}
	client := p.client(t)
	if _, body := get(t, client, "https://a.test/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	world.secrets["a"] = secret(t, "renewed.test")
	p.set(t, in)
	if got := shown("a.test"); got != "renewed.test" {
		t.Errorf("after the change: %s", got)
	}
	if resp, _ := get(t, client, "https://a.test/"); resp.TLS.PeerCertificates[0].DNSNames[0] != "a.test" {
		t.Error("the open connection was ended by the change")
	}
}

// dial answers a connection to the proxy that sent text.
func dial(t *testing.T, at, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSlowClients: a header and a body that don't come in time end their connection, the latter with 408, and one that
// isn't used does.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })}}}
	p := serve(t, world, func(c *Config) {
		c.HeaderTimeout, c.IdleTimeout, c.StallTimeout = 100*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	}, to("a.test", "web"))
	for name, c := range map[string]struct{ sent, want string }{
		"nothing":  {"", ""},
		"a header": {"GET / HTTP/1.1\r\nHost: a.te", ""},
		"idle":     {"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "HTTP/1.1 200"},
		"a body":   {"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 408"},
		"unread":   {"POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 404"},
		"a chunk":  {"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", "HTTP/1.1 408"},
	} {
		got, err := io.ReadAll(dial(t, p.http, c.sent))
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(got), c.want) {
			t.Errorf("%s: %q (%v)", name, got, err)
		}
	}
	// Progress is all that is asked for: this body takes longer than any pause may.
	c := dial(t, p.http, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\nConnection: close\r\n\r\n")
	for range 10 {
		time.Sleep(50 * time.Millisecond)
		_, _ = io.WriteString(c, "x")
	}
	if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200") {
		t.Errorf("a slow body: %q (%v)", got, err)
	}
}

// TestUnreadAnswer ends the request of a client that doesn't read.
func TestUnreadAnswer(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 2)
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<16)
		for {
			if _, err := w.Write(block); err != nil {
				ended <- struct{}{}
				return
			}
		}
	})}}}
	p := serve(t, world, func(c *Config) { c.StallTimeout = 200 * time.Millisecond }, to("a.test", "web"))
	dial(t, p.http, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	resp, err := p.client(t).Do(request(t, http.MethodGet, "https://a.test/", nil)) // a stream of HTTP/2 whose window fills up
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("the backend still sends")
		}
	}
	_ = resp.Body.Close()
}

// TestManyConnections holds more connections than there is room for, idle ones and ones that send headers and bodies
// slowly: who comes after them is served, and those in the midst of a request aren't cut off for it.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d bytes", len(data))
	})}}}
	const room, many = 500, 2000
	p := serve(t, world, func(c *Config) { c.Connections = room }, to("a.test", "web"))
	slow := dial(t, p.http, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nx")
	eventually(t, "the slow body to be read", func() error {
		if v, err := p.gauge("http"); err != nil || v != 1 {
			return fmt.Errorf("%v connections (%w)", v, err)
		}
		return nil
	})
	for i := range many {
		dial(t, p.http, []string{"", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"}[i%3])
		if i%250 == 249 {
			if resp, body := get(t, p.client(t), "http://a.test/"); body != "0 bytes" {
				t.Fatalf("after %d connections: %s %q", i, resp.Status, body)
			}
		}
	}
	if v, err := p.gauge("http"); err != nil || v > room {
		t.Errorf("%v connections are held (%v)", v, err)
	}
	_, _ = io.WriteString(slow, "y")
	if resp, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the slow body: %v %v", resp, err)
	}
}

// TestBusyRoom: where all connections are in the midst of a request the one whose body stands still goes for another.
func TestBusyRoom(t *testing.T) {
	t.Parallel()
	clock := &stepped{}
	p, err := New(Default(), Deps{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	p.config.Connections = 2
	r := newRoom(p, "test")
	enter := func() (*conn, bool) {
		_, inner := net.Pipe()
		c := &conn{Conn: inner, room: r}
		ok := r.enter(c)
		r.changed(c, http.StateActive)
		t.Cleanup(func() { _ = inner.Close() })
		return c, ok
	}
	first, _ := enter()
	second, _ := enter()
	first.waits(clock.Now())
	if _, ok := enter(); ok {
		t.Error("let in while the others are busy")
	}
	clock.step(slow + time.Second)
	second.waits(clock.Now())
	third, ok := enter()
	if !ok || r.all[first] || !r.all[second] || !r.all[third] {
		t.Errorf("let in: %v; %v", ok, r.all)
	}
	r.close()
	if len(r.all) > 0 || r.waiting.Len() > 0 {
		t.Errorf("left: %v", r.all)
	}
}

type stepped struct{ offset time.Duration }

func (s *stepped) Now() time.Time                  { return time.Unix(1000, 0).Add(s.offset) }
func (s *stepped) Since(t time.Time) time.Duration { return s.Now().Sub(t) }
func (s *stepped) step(d time.Duration)            { s.offset += d }

func TestMalformed(t *testing.T) {
	t.Parallel()
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(http.ResponseWriter, *http.Request) {})}}}
	p := serve(t, world, func(c *Config) { c.HeaderBytes = 8 << 10 }, to("", "web"))
	for name, c := range map[string]struct{ sent, want string }{
		"no protocol":     {"hello, this is no HTTP at all\r\n\r\n", "400"},
		"no host":         {"GET / HTTP/1.1\r\n\r\n", "400"},
		"two hosts":       {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		"a long header":   {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", "431"},
		"two lengths":     {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "400"},
		"a bad chunk":     {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ""},
		"a bad encoding":  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501"},
		"a tunnel":        {"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "400"},
		"a bad escape":    {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"no path":         {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"TLS":             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 32) + "\n", "400"},
		"as of a proxy":   {"GET http://b.test/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"},
		"a folded header": {"GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n", "400"},
	} {
		conn := dial(t, p.http, c.sent)
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || c.want != "" && !strings.HasPrefix(got.Status, c.want) {
			t.Errorf("%s: %v (%v)", name, got, err)
		}
	}
	if resp, _ := get(t, p.client(t), "http://a.test/"); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s", resp.Status)
	}
}
