// Package loopback lets the components inside the process call the API server
// without a socket: an http.RoundTripper that runs the server's whole handler
// chain in place, each client under its own identity.
//
// A Transport is made before the server exists; requests fail with a retriable
// connection error until Serve hands it the handler. Close ends every request
// that still runs, watches included, and waits for their goroutines.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// host is what clients of the transport believe to talk to; nothing resolves it.
const host = "http://in-process"

// Transport connects clients to the handler of the API server.
type Transport struct {
	mu      sync.Mutex
	handler http.Handler
	closed  bool
	running map[*response]context.CancelFunc
	joined  sync.WaitGroup
}

// New returns a transport without a handler.
func New() *Transport { return &Transport{running: map[*response]context.CancelFunc{}} }

// Serve connects the handler; every request from now on runs in it.
func (t *Transport) Serve(h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handler = h
}

// Close cancels what runs, refuses what comes, and waits until all handlers
// have returned.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	for _, cancel := range t.running {
		cancel()
	}
	t.mu.Unlock()
	t.joined.Wait()
}

// begin admits one request, or says why not.
func (t *Transport) begin(w *response, cancel context.CancelFunc) (http.Handler, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, errClosed
	case t.handler == nil:
		return nil, unix.ECONNREFUSED // what clients already know how to retry
	}
	t.joined.Add(1)
	t.running[w] = cancel
	return t.handler, nil
}

func (t *Transport) end(w *response) {
	t.mu.Lock()
	delete(t.running, w)
	t.mu.Unlock()
	t.joined.Done()
}

// Config returns a client configuration that acts as the named user, member of
// the groups and of system:authenticated. Built-in types travel as protobuf.
// There is no client-side rate limit: priority and fairness does that better.
func (t *Transport) Config(name string, groups ...string) *rest.Config {
	id := &user.DefaultInfo{Name: name, Groups: append(slices.Clone(groups), user.AllAuthenticated)}
	return &rest.Config{
		Host:      host,
		Transport: client{t, id},
		QPS:       -1,
		UserAgent: component(name) + "/skiff",
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	}
}

// component is the part of Kubernetes that a user is: the name by which tools
// know what manages an object's fields.
func component(name string) string {
	switch {
	case name == user.APIServerUser:
		return "kube-apiserver"
	case name == user.KubeScheduler:
		return "kube-scheduler"
	case name == user.KubeControllerManager, strings.HasPrefix(name, "system:serviceaccount:"+metav1.NamespaceSystem+":"):
		return "kube-controller-manager"
	case strings.HasPrefix(name, "system:node:"):
		return "kubelet"
	}
	return "skiff"
}

var errClosed = errors.New("the API server has shut down")

type identityKey struct{}

// User answers whose client made an in-process request, and false for a request
// that came over the network.
func User(ctx context.Context) (user.Info, bool) {
	id, ok := ctx.Value(identityKey{}).(user.Info)
	return id, ok
}

// client is the transport seen by one identity.
type client struct {
	transport *Transport
	id        user.Info
}

// RoundTrip runs the request in the server's handler chain. It returns at the
// handler's first flush or end; the body then streams.
func (c client) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := c.fresh(req.Context())
	w := newResponse(ctx)
	r := serverSide(ctx, req)
	handler, err := c.transport.begin(w, cancel)
	if err != nil {
		cancel()
		return nil, errors.Join(err, r.Body.Close())
	}
	go func() { // joined by Transport.Close
		defer c.transport.end(w)
		defer cancel()
		serve(handler, w, r)
	}()
	select {
	case <-w.started:
	case <-ctx.Done():
		w.abort(context.Cause(ctx))
	}
	if err := req.Context().Err(); err != nil {
		cancel()
		return nil, err
	}
	code, header, err := w.head()
	if err != nil {
		cancel()
		return nil, err
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: header, Body: body{w, cancel}, ContentLength: -1, Request: req,
	}, nil
}

// fresh is a context that ends with the caller's and has none of its values: a
// request made while another one is served is a request of its own, with its own
// user, audit event and warnings.
func (c client) fresh(caller context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(context.WithValue(context.Background(), identityKey{}, c.id)) //nolint:forbidigo // see above
	forget := context.AfterFunc(caller, func() { end(context.Cause(caller)) })
	return ctx, func() {
		forget()
		end(nil)
	}
}

// serve runs the handler and turns a panic into the broken connection that a
// network client would see.
func serve(h http.Handler, w *response, r *http.Request) {
	err := errHandlerPanic
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // the documented sentinel
			klog.FromContext(r.Context()).Error(fmt.Errorf("%v", p), "In-process request panicked", "path", r.URL.Path)
		}
		w.finish(err)
		_ = r.Body.Close() // nobody is left to tell
	}()
	h.ServeHTTP(w, r)
	// What a cancelled handler has left unsaid must not look like a whole answer.
	if err = context.Cause(r.Context()); err == nil {
		err = io.EOF
	}
}

// serverSide is the request as a server would have read it from a connection.
func serverSide(ctx context.Context, req *http.Request) *http.Request {
	r := req.Clone(ctx)
	r.RequestURI = req.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:0"
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	return r
}
