package proxy

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

// Config is how requests are treated.
type Config struct {
	// HeaderTimeout is how long a client may take for the header of a request, and for a TLS handshake.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection of a client may be unused.
	IdleTimeout time.Duration
	// StallTimeout is how long a body may not progress, in either direction between a client and here.
	StallTimeout time.Duration
	// DialTimeout is how long an endpoint may take to accept a connection.
	DialTimeout time.Duration
	// ResponseTimeout is how long a backend may take to begin its answer once it has the whole request, unless a route
	// says otherwise. Calls of gRPC bring their own deadline and are exempt.
	ResponseTimeout time.Duration
	// HeaderBytes is how long the header of a request may be.
	HeaderBytes int
	// BodyLimit is how long the body of a request may be, in bytes, unless a route says otherwise; 0 is without limit.
	BodyLimit int64
	// Connections is how many a listener holds.
	Connections int
	// HTTPSPort is where clients reach the listener for TLS, for redirects; 0 is 443.
	HTTPSPort int
	// AccessLog writes a line to the log for each request.
	AccessLog bool
}

// Default answers the usual configuration. Its times are those of ingress-nginx.
func Default() Config {
	return Config{
		HeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second, StallTimeout: time.Minute,
		DialTimeout: 5 * time.Second, ResponseTimeout: time.Minute,
		HeaderBytes: 64 << 10, Connections: connections(),
	}
}

const (
	mostConnections  = 16384
	leastConnections = 256
)

// connections leaves most files that this process may open to others: each connection of a client may need one to a
// backend, at two listeners.
func connections() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return leastConnections
	}
	return int(min(max(limit.Max/6, leastConnections), mostConnections)) //nolint:gosec // bounded
}

// Validate answers what is wrong with the configuration.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.HeaderTimeout, c.IdleTimeout, c.StallTimeout, c.DialTimeout, c.ResponseTimeout} {
		if d <= 0 {
			return errors.New("the timeouts of the ingress must be positive")
		}
	}
	if c.HeaderBytes <= 0 || c.Connections <= 0 || c.BodyLimit < 0 {
		return errors.New("the limits of the ingress must be positive")
	}
	return nil
}

// Deps is what a proxy works with.
type Deps struct {
	// Clock is the source of time; the real one if nil.
	Clock clock.PassiveClock
	// Metrics is where metrics are shown; nil shows none.
	Metrics Metrics
}
