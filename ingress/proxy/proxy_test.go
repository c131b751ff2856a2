package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skiff/ingress/route"
)

func TestWhatBackendsSee(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
	})}}}
	p := serve(t, world, nil, to("a.test", "web"))
	client := p.client(t)
	for _, scheme := range []string{"http", "https"} {
		req := request(t, http.MethodPost, scheme+"://a.test/x%2Fy/%C3%A4/../z?b=1;c&d", strings.NewReader("body"))
		for _, forged := range []string{"X-Forwarded-For", "X-Real-Ip", "X_Real_Ip", "X-Forwarded-Prefix", "Forwarded", "X-Forwarded-Proto"} {
			req.Header.Set(forged, "forged")
		}
		if scheme == "http" {
			req.Header.Set("Connection", "X-Hop, X-Real-Ip")
			req.Header.Set("X-Hop", "1")
		}
		resp, _ := do(t, client, req)
		if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Answer") != "yes" || (scheme == "https") != (resp.ProtoMajor == 2) {
			t.Errorf("%s: %s %v", scheme, resp.Proto, resp)
		}
		got := <-seen
		if got.Host != "a.test" || got.RequestURI != "/x%2Fy/z?b=1;c&d" {
			t.Errorf("%s: host %q, URI %q", scheme, got.Host, got.RequestURI)
		}
		for key, want := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Host": "a.test", "X-Forwarded-Proto": scheme,
			"Forwarded": "", "X-Forwarded-Prefix": "", "X_Real_Ip": "", "X-Hop": "", "User-Agent": "Go-http-client/" + map[string]string{"http": "1.1", "https": "2.0"}[scheme],
		} {
			if got.Header.Get(key) != want && !slices.Equal(got.Header[key], []string{want}) {
				t.Errorf("%s: %s is %q, want %q", scheme, key, got.Header[key], want)
			}
		}
		if got.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no number", scheme)
		}
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	slow := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	defer close(held)
	cut := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	echo := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		_, _ = fmt.Fprint(w, "all of it")
	})
	gone := listen(t)
	_ = gone.Close()
	world := &upstream{addresses: map[string][]string{"slow": {slow}, "cut": {cut}, "gone": {gone.Addr().String()}, "none": {}, "echo": {echo}}}
	limited := to("small.test", "echo", route.AnnotationBodyLimit, "10")
	limited.Name = "small"
	p := serve(t, world, nil, to("slow.test", "slow", route.AnnotationResponseTimeout, "50ms"), to("cut.test", "cut"), to("gone.test", "gone"), to("none.test", "none"),
		to("echo.test", "echo"), to("missing.test", "missing"), limited)
	chunks := func(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", n))) }
	for _, c := range []struct {
		url  string
		body io.Reader
		want int
	}{
		{"http://unknown.test/", nil, http.StatusNotFound},
		{"http://none.test/", nil, http.StatusServiceUnavailable},
		{"http://missing.test/", nil, http.StatusServiceUnavailable},
		{"http://gone.test/", nil, http.StatusBadGateway},
		{"http://cut.test/", nil, http.StatusBadGateway},
		{"http://slow.test/", nil, http.StatusGatewayTimeout},
		{"http://small.test/", strings.NewReader("0123456789"), http.StatusOK},
		{"http://small.test/", strings.NewReader("0123456789x"), http.StatusRequestEntityTooLarge},
		{"http://small.test/", chunks(10), http.StatusOK},
		{"http://small.test/", chunks(11), http.StatusRequestEntityTooLarge},
		{"https://small.test/", chunks(10), http.StatusOK},
		{"https://small.test/", chunks(11), http.StatusRequestEntityTooLarge},
		{"http://echo.test/", chunks(1 << 20), http.StatusOK},
	} {
		method := http.MethodGet
		if c.body != nil {
			method = http.MethodPost
		}
		if resp, body := do(t, p.client(t), request(t, method, c.url, c.body)); resp.StatusCode != c.want || body == "" {
			t.Errorf("%s: %d %q, want %d", c.url, resp.StatusCode, body, c.want)
		}
	}
}

// TestRetries: a request whose endpoint can't be reached goes to another, with its body; one that may have been acted on
// goes twice only if that does no harm.
func TestRetries(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int32
	good := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	cut := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		cuts.Add(1)
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	})
	gone := listen(t)
	_ = gone.Close()
	world := &upstream{addresses: map[string][]string{"dead": {gone.Addr().String(), good}, "cut": {cut, good}}}
	p := serve(t, world, nil, to("dead.test", "dead"), to("cut.test", "cut"))
	client := p.client(t)
	for range 6 {
		if resp, body := do(t, client, request(t, http.MethodPost, "http://dead.test/", strings.NewReader("once"))); resp.StatusCode != http.StatusOK || body != "once" {
			t.Errorf("a body that nobody had: %d %q", resp.StatusCode, body)
		}
		if resp, _ := get(t, client, "http://cut.test/"); resp.StatusCode != http.StatusOK {
			t.Errorf("a request without harm: %d", resp.StatusCode)
		}
	}
	cuts.Store(0)
	failed := 0
	for range 6 {
		if resp, _ := do(t, client, request(t, http.MethodPost, "http://cut.test/", strings.NewReader("once"))); resp.StatusCode == http.StatusBadGateway {
			failed++
		}
	}
	if failed != 3 || cuts.Load() != 3 {
		t.Errorf("of six requests with a body %d failed, and %d came to the endpoint that breaks off", failed, cuts.Load())
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	var asked [3]atomic.Int32
	world := &upstream{addresses: map[string][]string{}}
	for i := range asked {
		world.addresses["web"] = append(world.addresses["web"], backend(t, func(http.ResponseWriter, *http.Request) { asked[i].Add(1) }))
	}
	p := serve(t, world, nil, to("a.test", "web"))
	client := p.client(t)
	for range 30 {
		get(t, client, "http://a.test/")
	}
	for i := range asked {
		if n := asked[i].Load(); n != 10 {
			t.Errorf("endpoint %d was asked %d times", i, n)
		}
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			_, _ = fmt.Fprintf(w, "upgrade %q", r.Header["Upgrade"])
			return
		}
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = b.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = b.Flush()
		_, _ = io.Copy(c, b)
	})}}}
	p := serve(t, world, nil, to("a.test", "web"))
	open := func(protocol string) (net.Conn, *bufio.Reader, *http.Response) {
		c, err := net.Dial("tcp", p.http)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = fmt.Fprintf(c, "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
		b := bufio.NewReader(c)
		resp, err := http.ReadResponse(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c, b, resp
	}
	c, b, resp := open("websocket")
	defer func() { _ = c.Close() }()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s", resp.Status)
	}
	p.set(t) // no route is left, and the connection stays
	for _, word := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(c, word)
		if got, err := b.ReadString('\n'); got != word {
			t.Errorf("sent %q, got %q (%v)", word, got, err)
		}
	}
	p.set(t, to("a.test", "web"))
	c2, _, resp := open("h2c")
	defer func() { _ = c2.Close() }()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(body) != "upgrade []" {
		t.Errorf("h2c: %s %q", resp.Status, body)
	}
}

// TestStreams: what a backend sends comes at once, whatever protocol the client speaks.
func TestStreams(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	})}}}
	p := serve(t, world, nil, to("a.test", "web"))
	for _, scheme := range []string{"http", "https"} {
		resp, err := p.client(t).Do(request(t, http.MethodGet, scheme+"://a.test/", nil))
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(resp.Body)
		for i := range 3 {
			if got, err := b.ReadString('\n'); got != fmt.Sprintf("data: %d\n", i) {
				t.Errorf("%s: %q (%v)", scheme, got, err)
			}
			more <- struct{}{}
		}
		_ = resp.Body.Close()
	}
}

func unencrypted(s *httptest.Server) {
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
}

// TestGRPC sends and receives in turn, as a call with streams both ways does, and ends with trailers: over TLS and, with
// prior knowledge, without.
func TestGRPC(t *testing.T) {
	t.Parallel()
	world := &upstream{protocol: map[string]string{"rpc": "kubernetes.io/h2c"}, addresses: map[string][]string{"rpc": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		b := bufio.NewReader(r.Body)
		for {
			line, err := b.ReadString('\n')
			if err != nil {
				break
			}
			_, _ = fmt.Fprintf(w, "echo %s", line)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Seen", r.Trailer.Get("Count"))
	}, unencrypted)}}}
	p := serve(t, world, func(c *Config) { c.ResponseTimeout = time.Millisecond }, to("rpc.test", "rpc"))
	clear := func(tr *http.Transport) {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	for scheme, change := range map[string]func(*http.Transport){"https": func(*http.Transport) {}, "http": clear} {
		in, out := io.Pipe()
		req := request(t, http.MethodPost, scheme+"://rpc.test/pkg.Service/Call", in)
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		req.Trailer = http.Header{"Count": nil}
		var sending sync.WaitGroup
		sending.Go(func() { _, _ = io.WriteString(out, "0\n") })
		resp, err := p.client(t, change).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(resp.Body)
		for i := range 3 {
			if got, err := b.ReadString('\n'); got != fmt.Sprintf("echo %d\n", i) {
				t.Fatalf("%s: %s %q (%v)", scheme, resp.Status, got, err)
			}
			if i < 2 {
				_, _ = fmt.Fprintf(out, "%d\n", i+1)
			}
		}
		req.Trailer.Set("Count", "3")
		_ = out.Close()
		rest, err := io.ReadAll(b)
		_ = resp.Body.Close()
		sending.Wait()
		if err != nil || len(rest) > 0 || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Seen") != "3" || resp.ProtoMajor != 2 {
			t.Errorf("%s: %q %v, trailers %v", scheme, rest, err, resp.Trailer)
		}
	}
}

func TestBackendWithTLS(t *testing.T) {
	t.Parallel()
	world := &upstream{protocol: map[string]string{"web": "https"}, addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.TLS != nil, r.Header.Get("X-Forwarded-Proto"))
	}, (*httptest.Server).StartTLS)}}}
	p := serve(t, world, nil, to("a.test", "web"))
	if _, body := get(t, p.client(t), "http://a.test/"); body != "truehttp" {
		t.Errorf("got %q", body)
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(http.ResponseWriter, *http.Request) {})}}}
	world.secrets = nil
	secure := to("a.test", "web", route.AnnotationRedirect, "true")
	secure.Spec.TLS = append(secure.Spec.TLS, tlsOf("", "a.test"))
	plain := to("b.test", "web", route.AnnotationRedirect, "true")
	p := serve(t, world, func(c *Config) { c.HTTPSPort = 8443 }, secure, plain)
	client := p.client(t)
	if resp, _ := do(t, client, request(t, http.MethodPost, "http://a.test/x?y=1", strings.NewReader("z"))); resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != "https://a.test:8443/x?y=1" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	for _, url := range []string{"https://a.test/", "http://b.test/"} {
		if resp, _ := get(t, client, url); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
}

// TestReloadUnderLoad replaces the routes, and the backends with them, while clients ask: every request is answered.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	world := &upstream{addresses: map[string][]string{}}
	for range 2 {
		world.addresses["web"] = append(world.addresses["web"], backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	}
	both := world.addresses["web"]
	p := serve(t, world, nil, to("a.test", "web"))
	const clients, each = 8, 50
	var all sync.WaitGroup
	errs := make(chan error, clients*each)
	for i := range clients {
		scheme := []string{"http", "https"}[i%2]
		client := p.client(t)
		all.Go(func() {
			for n := range each {
				want := fmt.Sprint(i, n)
				resp, err := client.Do(request(t, http.MethodPost, scheme+"://a.test/", strings.NewReader(want)))
				if err != nil {
					errs <- err
					continue
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(body) != want {
					errs <- fmt.Errorf("%s %q: %w", resp.Status, body, errors.Join(err))
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for i := 0; ; i++ {
		select {
		case <-done:
			close(errs)
			for err := range errs {
				t.Error(err)
			}
			return
		default:
			world.addresses["web"] = both[i%2 : i%2+1]
			p.set(t, to("a.test", "web"), to(fmt.Sprintf("x%d.test", i), "web"))
		}
	}
}
