package property

import (
	"errors"
	"net/http"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
)

// crash says at which write a manager dies: the n-th, counted from 1, before the server has it or after.
type crash struct {
	Write int
	After bool
}

var errDead = errors.New("the manager is dead")

// faults is the connection of one manager's life. From its crash on no write succeeds; what reads is left alone, for
// reading does no harm.
type faults struct {
	crash crash
	die   func()

	mu     sync.Mutex
	writes int
	dead   bool
}

// wrap makes cfg a configuration whose requests pass the faults.
func (f *faults) wrap(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return connection{f, rt} })
	return cfg
}

type connection struct {
	faults *faults
	next   http.RoundTripper
}

func (c connection) RoundTrip(r *http.Request) (*http.Response, error) {
	if !counts(r) {
		return c.next.RoundTrip(r)
	}
	before, after := c.faults.count()
	if before {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errDead
	}
	answer, err := c.next.RoundTrip(r)
	if after {
		if err == nil {
			_ = answer.Body.Close()
		}
		c.faults.die()
		return nil, errDead
	}
	return answer, err
}

// counts tells the writes that change what is controlled from events, leases and questions about rights.
func counts(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	for _, part := range []string{"/events", "/leases", "reviews"} {
		if strings.Contains(r.URL.Path, part) {
			return false
		}
	}
	return true
}

// count answers whether a write fails before or after the server has it.
func (f *faults) count() (before, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return true, false
	}
	f.writes++
	if f.crash.Write == 0 || f.writes < f.crash.Write {
		return false, false
	}
	f.dead = true
	if f.crash.After {
		return false, true
	}
	f.die()
	return true, false
}

// wrote is how many writes the manager has made.
func (f *faults) wrote() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}
