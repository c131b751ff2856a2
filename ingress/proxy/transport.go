package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"skiff/ingress/route"
)

const (
	// mostTries is how many endpoints a request is sent to, as ingress-nginx does.
	mostTries = 3
	// bufferSize is what a body is copied with.
	bufferSize = 32 << 10
)

// errSlowBackend ends a request whose backend does not answer.
var errSlowBackend = errors.New("the backend did not begin its answer in time")

// transports are the connections to backends with HTTP/1.1 or TLS, and those with HTTP/2 alone.
func transports(c Config) (h1, h2c *http.Transport) {
	dialer := &net.Dialer{Timeout: c.DialTimeout, KeepAlive: 30 * time.Second}
	h1 = &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: c.DialTimeout, DisableCompression: true,
		MaxIdleConns: 1024, MaxIdleConnsPerHost: 128, IdleConnTimeout: time.Minute, ExpectContinueTimeout: time.Second,
		MaxResponseHeaderBytes: 1 << 20, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see route.HTTPS
	}
	h2c = h1.Clone()
	h2c.Protocols = new(http.Protocols)
	h2c.Protocols.SetUnencryptedHTTP2(true)
	return h1, h2c
}

// RoundTrip sends a request to an endpoint of its target, the next in turn. If that can't be, it tries the others.
func (p *Proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	endpoints := x.backend.Endpoints
	turn := x.backend.Turn()
	for try := 1; ; try++ {
		x.to = endpoints[(turn+try)%len(endpoints)]
		resp, err := p.ask(r, x)
		if err == nil || try == min(len(endpoints), mostTries) || !mayRetry(r, x.body, err) {
			return resp, err
		}
		x.retries++
	}
}

// ask sends a request to the endpoint x.to.
func (p *Proxy) ask(r *http.Request, x *exchange) (*http.Response, error) {
	transport := p.h1
	out := r.WithContext(r.Context())
	at := *r.URL
	at.Scheme, at.Host = "http", x.to
	switch x.backend.Protocol {
	case route.H2C:
		transport = p.h2c
	case route.HTTPS:
		at.Scheme = "https"
	case route.HTTP:
	}
	out.URL = &at
	if r.Body != nil {
		out.Body = io.NopCloser(r.Body) // open for another try; serve closes it
	}
	patience := p.patience(r, x.target)
	if patience == 0 {
		return transport.RoundTrip(out)
	}
	var waiting stopwatch
	out = out.WithContext(httptrace.WithClientTrace(out.Context(), &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				waiting.start(patience, func() { x.cancel(errSlowBackend) })
			}
		},
	}))
	resp, err := transport.RoundTrip(out)
	waiting.stop()
	if cause := context.Cause(r.Context()); errors.Is(cause, errSlowBackend) {
		if resp != nil {
			_ = resp.Body.Close()
		}
		return nil, cause
	}
	return resp, err
}

// patience is how long a backend may take to begin its answer; 0 is for ever.
func (p *Proxy) patience(r *http.Request, t *route.Target) time.Duration {
	switch {
	case t.Options.ResponseTimeout > 0:
		return t.Options.ResponseTimeout
	case isGRPC(r):
		return 0
	default:
		return p.config.ResponseTimeout
	}
}

// stopwatch does something after a time unless it was stopped, before or after it was started.
type stopwatch struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func (s *stopwatch) start(after time.Duration, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped && s.timer == nil {
		s.timer = time.AfterFunc(after, do)
	}
}

func (s *stopwatch) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped = true; s.timer != nil {
		s.timer.Stop()
	}
}

// mayRetry reports whether a request that failed can be sent again: when nothing of it was sent, as no connection came
// about, or when sending it twice does no harm (RFC 9110, section 9.2.2).
func mayRetry(r *http.Request, b *body, err error) bool {
	if r.Context().Err() != nil || b.touched.Load() {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var timeout net.Error
	if r.Body != nil || r.Header.Get("Upgrade") != "" || errors.As(err, &timeout) && timeout.Timeout() {
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	default:
		return false
	}
}

// buffers are reused from one body to the next.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte { return b.pool.Get().(*[bufferSize]byte)[:] } //nolint:errcheck // New makes nothing else

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }
