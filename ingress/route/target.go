package route

import (
	"sync/atomic"
	"time"
)

// Protocol is how a backend is spoken to.
type Protocol string

// The protocols of backends.
const (
	HTTP  Protocol = "http"  // HTTP/1.1, and what a client upgrades to from there
	HTTPS Protocol = "https" // HTTP/1.1 or HTTP/2 over TLS; the certificate isn't verified, as nothing says who should have signed it
	H2C   Protocol = "h2c"   // HTTP/2 without TLS, as gRPC uses it
)

// Target is where requests that a rule matched go.
type Target struct {
	// Route is the kind, namespace and name of the object that said so, for logs.
	Route string
	// Service is the namespace, name and port of what they go to, for logs.
	Service string
	Backend *Backend
	Options Options
	// TLS says that the rule's host has a certificate.
	TLS bool
}

// Options is how requests are treated that go one way.
type Options struct {
	// Redirect sends clients that came without TLS to the same URL with it.
	Redirect bool
	// BodyLimit is how long a request's body may be, in bytes; negative if that isn't said, 0 if there is no limit.
	BodyLimit int64
	// ResponseTimeout is how long a backend may take to begin its answer; 0 if that isn't said.
	ResponseTimeout time.Duration
}

// Backend is the endpoints that requests are shared out among.
type Backend struct {
	Protocol Protocol
	// Endpoints are addresses with ports.
	Endpoints []string

	turn atomic.Uint32
}

// Turn answers a number that tells which endpoint is next: it grows by one with each call.
func (b *Backend) Turn() int { return int(b.turn.Add(1) & (1<<31 - 1)) }
