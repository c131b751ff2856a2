package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"skiff/ingress/route"
)

// Proxy passes requests on. Close follows the end of every Serve.
type Proxy struct {
	config  Config
	clock   clock.PassiveClock
	metrics *measures
	table   atomic.Pointer[route.Table]
	forward *httputil.ReverseProxy
	h1, h2c *http.Transport
}

// New makes a proxy that routes nothing yet.
func New(config Config, deps Deps) (*Proxy, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	p := &Proxy{config: config, clock: deps.Clock}
	if p.clock == nil {
		p.clock = clock.RealClock{}
	}
	var err error
	if p.metrics, err = newMeasures(deps.Metrics); err != nil {
		return nil, err
	}
	p.table.Store(route.Compile(nil, nil, &route.Keypairs{}).Table)
	p.h1, p.h2c = transports(config)
	p.forward = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p, ModifyResponse: p.answered, ErrorHandler: p.failed, BufferPool: newBuffers(), ErrorLog: quiet(),
	}
	return p, nil
}

// SetTable routes the requests that come from now on by t.
func (p *Proxy) SetTable(t *route.Table) {
	p.table.Store(t)
	p.metrics.reloads.Inc()
}

// Close ends idle connections to backends. It is called when no listener is served any more.
func (p *Proxy) Close() {
	p.h1.CloseIdleConnections()
	p.h2c.CloseIdleConnections()
}

// exchange is a request on its way.
type exchange struct {
	target  *route.Target
	backend route.Share
	path    route.Path
	client  string // its address
	id      string
	body    *body
	cancel  context.CancelCauseFunc
	retries int
	to      string // the endpoint that was asked last
}

// service is what it goes to, for logs.
func (x *exchange) service() string {
	if x.backend.Backend == nil {
		return ""
	}
	return x.backend.Service
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange) //nolint:errcheck // it is always there: serve put it
	return x
}

// ServeHTTP passes a request on and counts it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := newResponse(w, r, p)
	x := &exchange{client: clientOf(r)}
	if r.Body != nil && r.Body != http.NoBody {
		// Also where nobody reads the body: the server waits for what is left of it.
		_ = answer.control.SetReadDeadline(answer.from.Add(p.config.StallTimeout)) // what can't have one is a test's
	}
	defer func() { p.record(r, answer, x) }()
	p.serve(answer, r, x)
}

func (p *Proxy) serve(w *response, r *http.Request, x *exchange) {
	var ok bool
	if x.path, ok = route.ParsePath(r.URL.EscapedPath()); !ok || r.Method == http.MethodConnect {
		w.refuse(http.StatusBadRequest, "only paths can be asked for here")
		return
	}
	host := route.ParseHost(r.Host)
	if x.target, ok = p.table.Load().Find(host, x.path, r); !ok {
		w.refuse(http.StatusNotFound, "no route for this host and path")
		return
	}
	if x.target.Options.Redirect && x.target.TLS && r.TLS == nil {
		http.Redirect(w, r, "https://"+p.secureHost(host)+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	if f := x.target.Filters; f != nil && f.Redirect != nil {
		to, status := f.Location(r.TLS != nil, host, portOf(r), x.path.Escaped, r.URL.RawQuery)
		w.Header().Set("Location", to)
		w.WriteHeader(status)
		return
	}
	limit := p.config.BodyLimit
	if x.target.Options.BodyLimit >= 0 {
		limit = x.target.Options.BodyLimit
	}
	if limit > 0 && r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		w.refuse(http.StatusRequestEntityTooLarge, "the body is too long")
		return
	}
	if x.backend, ok = x.target.Choose(); !ok || x.backend.Invalid {
		w.refuse(http.StatusInternalServerError, "the route has no valid backend")
		return
	}
	if len(x.backend.Endpoints) == 0 {
		w.refuse(http.StatusServiceUnavailable, "no endpoint is ready")
		return
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), exchangeKey{}, x))
	defer cancel(nil)
	x.cancel, x.id = cancel, string(uuid.NewUUID())
	x.body = newBody(w, r, limit, p)
	defer x.body.release()
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = x.body
	}
	p.forward.ServeHTTP(w, r)
}

// secureHost is where a host is reached with TLS.
func (p *Proxy) secureHost(host string) string {
	if p.config.HTTPSPort != 443 && p.config.HTTPSPort != 0 {
		return net.JoinHostPort(host, strconv.Itoa(p.config.HTTPSPort))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// rewrite makes the request that a backend gets out of that of the client.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	out := pr.Out
	out.Host = pr.In.Host
	out.URL.RawQuery = pr.In.URL.RawQuery
	escaped := x.target.Filters.Path(x.path.Escaped)
	if path, err := url.PathUnescape(escaped); err == nil {
		out.URL.Path, out.URL.RawPath = path, escaped
	}
	out.Trailer = pr.In.Trailer // one map, as its values come with the end of the body
	proto, port := "http", portOf(pr.In)
	if pr.In.TLS != nil {
		proto = "https"
	}
	h := out.Header
	forget(h)
	h.Set("X-Forwarded-For", x.client)
	h.Set("X-Real-Ip", x.client)
	h.Set("X-Forwarded-Host", pr.In.Host)
	h.Set("X-Forwarded-Proto", proto)
	h.Set("X-Forwarded-Scheme", proto)
	h.Set("X-Forwarded-Port", port)
	if h.Get("X-Request-Id") == "" {
		h.Set("X-Request-Id", x.id)
	}
	x.id = h.Get("X-Request-Id")
	if strings.EqualFold(h.Get("Upgrade"), "h2c") {
		// A backend that took it up would be spoken to past the routes.
		h.Del("Upgrade")
		h.Del("Connection")
	}
	h.Del("Http2-Settings")
	for _, f := range []*route.Filters{x.target.Filters, x.backend.Filters} {
		if f == nil {
			continue
		}
		for _, change := range f.Request {
			change.Apply(h)
		}
		if f.Rewrite != nil && f.Rewrite.Hostname != nil {
			out.Host = *f.Rewrite.Hostname
		}
	}
}

// answered changes the answer of a backend as its route wants it.
func (p *Proxy) answered(resp *http.Response) error {
	x := exchangeOf(resp.Request.Context())
	for _, f := range []*route.Filters{x.target.Filters, x.backend.Filters} {
		if f == nil {
			continue
		}
		for _, change := range f.Response {
			change.Apply(resp.Header)
		}
	}
	return nil
}

// forget removes what clients say of the way of their request, in the spelling too that programs take for the same which
// see headers as variables of an environment. Nobody vouches for it.
func forget(h http.Header) {
	for key := range h {
		name := strings.ReplaceAll(strings.ToLower(key), "_", "-")
		if strings.HasPrefix(name, "x-forwarded-") || name == "x-real-ip" || name == "forwarded" {
			delete(h, key)
		}
	}
}

// clientOf is the address of the client, without the zone of a link.
func clientOf(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return at.Addr().Unmap().WithZone("").String()
}

// portOf is the port that the client connected to.
func portOf(r *http.Request) string {
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(at.String()); err == nil {
			return port
		}
	}
	return ""
}

// failed answers what a request's failure means for its client.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	answer, _ := w.(*response) //nolint:errcheck // serve gave it
	var timeout net.Error
	switch cause := x.body.failure(); {
	case errors.Is(cause, errTooLong):
		answer.Header().Set("Connection", "close")
		answer.refuse(http.StatusRequestEntityTooLarge, cause.Error())
	case errors.Is(cause, errStalled):
		answer.Header().Set("Connection", "close")
		answer.refuse(http.StatusRequestTimeout, cause.Error())
	case errors.Is(context.Cause(r.Context()), errSlowBackend) || errors.As(err, &timeout) && timeout.Timeout():
		answer.refuse(http.StatusGatewayTimeout, "the backend did not answer in time")
	case r.Context().Err() != nil:
		answer.abandon()
	case cause != nil:
		answer.Header().Set("Connection", "close")
		answer.refuse(http.StatusBadRequest, "the body can't be read")
	default:
		klog.FromContext(r.Context()).V(2).Info("A backend failed", "route", x.target.Route, "service", x.service(), "endpoint", x.to, "err", err)
		answer.refuse(http.StatusBadGateway, "the backend failed")
	}
}

// abandoned is the status in logs of a request whose client went away, as nginx has it.
const abandoned = 499

// record counts a request, whose answer is complete or broken off.
func (p *Proxy) record(r *http.Request, w *response, x *exchange) {
	w.end()
	p.metrics.request(r.Method, w.status, w.began)
	p.metrics.retries.Add(float64(x.retries))
	if !p.config.AccessLog {
		return
	}
	values := []any{
		"client", x.client, "method", r.Method, "host", r.Host, "path", r.URL.Path, "protocol", r.Proto, "tls", r.TLS != nil,
		"status", w.status, "bytes", w.bytes, "duration", fmt.Sprintf("%.6f", p.clock.Since(w.from).Seconds()), "agent", r.UserAgent(), "id", x.id,
	}
	if x.target != nil {
		values = append(values, "route", x.target.Route, "service", x.service(), "endpoint", x.to, "retries", x.retries)
	}
	klog.FromContext(r.Context()).Info("Request", values...)
}

// isGRPC reports whether a request is a call of gRPC.
func isGRPC(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	return kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+") || strings.HasPrefix(kind, "application/grpc;")
}
