// Package server is the node's HTTPS endpoint: what `kubectl logs`, `exec`, `attach` and `port-forward` reach through the
// API server, and what monitoring scrapes.
//
// Every request is authenticated, by a client certificate or by a token the API reviews, and authorized by an access
// review of the node's subresource it concerns. Streams are passed on, whatever their protocol, to the container
// runtime's streaming server.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Config says where the endpoint is and whose it is.
type Config struct {
	// Address is where to listen, such as 0.0.0.0:10250; port 0 takes any free one.
	Address string
	// Listener, if set, is an open port to serve instead of Address; it is closed when Run ends.
	Listener net.Listener
	// NodeName is the node whose subresources are authorized.
	NodeName string
	// Anonymous lets requests without credentials be authorized as system:anonymous instead of refusing them.
	Anonymous bool
	// Configz is what /configz answers as the kubelet's configuration; it is encoded as JSON.
	Configz any
	// Version is told by the build information metric.
	Version string
}

// Pods answers the pods on this node with their current status.
type Pods interface {
	Pods() []*corev1.Pod
	Pod(namespace, name string) (*corev1.Pod, bool)
}

// StreamTarget is a container to stream with.
type StreamTarget struct {
	Namespace, Pod, Container string
}

// StreamOptions says which streams are connected.
type StreamOptions struct {
	Stdin, Stdout, Stderr, TTY bool
}

// Streams answers URLs of the runtime's streaming server.
type Streams interface {
	Exec(ctx context.Context, target StreamTarget, command []string, options StreamOptions) (*url.URL, error)
	Attach(ctx context.Context, target StreamTarget, options StreamOptions) (*url.URL, error)
	PortForward(ctx context.Context, namespace, pod string, ports []int32) (*url.URL, error)
}

// Runner is implemented by Streams that can also run a command to its end and answer its output, for /run.
type Runner interface {
	RunInContainer(ctx context.Context, target StreamTarget, command []string) ([]byte, error)
}

// Logs finds containers' log files. running says whether the container may still write to it.
type Logs interface {
	ContainerLog(ctx context.Context, target StreamTarget, previous bool) (path string, running func() bool, err error)
}

// Stats answers what the node and its pods use.
type Stats interface {
	Summary(ctx context.Context) (*statsapi.Summary, error)
}

// Deps is what the endpoint answers from.
type Deps struct {
	// Client speaks as the node; it reviews tokens and access.
	Client      kubernetes.Interface
	Credentials Credentials
	Pods        Pods
	Streams     Streams
	Logs        Logs
	Stats       Stats
	// Volumes, if set, gives the metrics of volumes behind claims.
	Volumes Volumes
	// Settled, if set, is closed once Pods knows the node's pods and their containers; requests for them wait for it.
	Settled <-chan struct{}
	// Healthy answers why the kubelet does not work, or nil; a nil func means it does.
	Healthy func() error
	// Metrics are further metrics for /metrics, Probes those for /metrics/probes; nil means none.
	Metrics, Probes prometheus.Gatherer
}

// Server is the endpoint.
type Server struct {
	config   Config
	deps     Deps
	access   *access
	handler  http.Handler
	requests sync.WaitGroup

	mu       sync.Mutex
	listener *connections
}

// Limits of a request's duration. Streams and followed logs last long.
const (
	headerTimeout  = 32 * time.Second
	requestTimeout = 4 * time.Hour
	idleTimeout    = 90 * time.Second
	// settleTimeout is how long a request waits for the pods to be known.
	settleTimeout = 10 * time.Second
	// farewell is how long requests may take to end after the context has.
	farewell = time.Second
)

// New makes the endpoint; Listen or Run open its port.
func New(config Config, deps Deps) (*Server, error) {
	if deps.Credentials == nil || deps.Client == nil {
		return nil, errors.New("the node's endpoint needs credentials and a client")
	}
	s := &Server{config: config, deps: deps, access: newAccess(config, deps)}
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.handler = s.counted(s.access.guard(routes))
	if config.Listener != nil {
		s.listener = trackConnections(config.Listener)
	}
	return s, nil
}

// Listen opens the port and answers its number. Run serves it; without Run, Close closes it.
func (s *Server) Listen(ctx context.Context) (port int32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		inner, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.Address)
		if err != nil {
			return 0, fmt.Errorf("opening the node's endpoint: %w", err)
		}
		s.listener = trackConnections(inner)
	}
	address, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("the node's endpoint has the address %s, which has no port", s.listener.Addr())
	}
	return int32(address.Port), nil
}

// Close closes a port that was opened and is not served.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

// Run serves until ctx ends, and returns when the last request has.
func (s *Server) Run(ctx context.Context) error {
	if _, err := s.Listen(ctx); err != nil {
		return err
	}
	// Requests keep ctx's values but end by the farewell below, not the moment ctx does.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           s.handler,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          quiet(klog.FromContext(ctx)),
	}
	secured := tls.NewListener(s.listener, serverTLS(s.deps.Credentials))
	served := make(chan error, 1)
	go func() { served <- server.Serve(secured) }()
	select {
	case err := <-served:
		cancel()
		s.listener.closeAll()
		s.requests.Wait()
		return fmt.Errorf("serving the node's endpoint: %w", err)
	case <-ctx.Done():
	}
	cancel()
	ending, stop := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer stop()
	_ = server.Shutdown(ending)
	s.listener.closeAll()
	s.requests.Wait()
	<-served
	return nil
}

// counted lets Run wait for requests, also those that took over their connection.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		defer s.requests.Done()
		next.ServeHTTP(w, r)
	})
}
