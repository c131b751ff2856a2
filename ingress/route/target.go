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
	Route   string
	Options Options
	// TLS says that the rule's host has a certificate.
	TLS bool
	// Backends share requests by weight. One whose weight is 0 gets none.
	Backends []Share
	// Filters is nil if nothing is changed.
	Filters *Filters

	turn atomic.Uint32
}

// Share is the part of the requests that a backend gets.
type Share struct {
	*Backend

	Weight int
	// Filters are of this backend alone.
	Filters *Filters
}

// Choose answers whose turn it is; false if there is nobody.
func (t *Target) Choose() (Share, bool) {
	if len(t.Backends) == 1 && t.Backends[0].Weight > 0 {
		return t.Backends[0], true
	}
	total := 0
	for _, s := range t.Backends {
		total += s.Weight
	}
	if total == 0 {
		return Share{}, false
	}
	// Steps of a number that has no divisor in common with the total go through all of it, and mix the backends.
	step, n := 7919, int(t.turn.Add(1)&(1<<31-1))
	if total%step == 0 {
		step = 1
	}
	at := n % total * (step % total) % total
	for _, s := range t.Backends {
		if at -= s.Weight; at < 0 {
			return s, true
		}
	}
	return Share{}, false
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
	// Service is the namespace, name and port of what it stands for, for logs.
	Service  string
	Protocol Protocol
	// Endpoints are addresses with ports.
	Endpoints []string
	// Invalid says that it names nothing that could have endpoints, which an HTTPRoute answers with 500.
	Invalid bool

	turn atomic.Uint32
}

// Turn answers a number that tells which endpoint is next: it grows by one with each call.
func (b *Backend) Turn() int { return int(b.turn.Add(1) & (1<<31 - 1)) }
