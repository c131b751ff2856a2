package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Limits protect the API from its clients.
type Limits struct {
	MaxRequests         int           // reads at once; with MaxMutatingRequests, the seats that priority and fairness shares out
	MaxMutatingRequests int           // writes at once
	Fairness            bool          // share the seats out by flow schemas, in place of two plain limits
	RequestTimeout      time.Duration // of requests that aren't long-running
	MinRequestTimeout   int           // seconds; a watch lasts as long to twice as long
	MaxStreams          int           // of an HTTP/2 connection; 0 is the library's default
	GoawayChance        float64       // probability that a request makes its HTTP/2 client connect anew
	LivezGracePeriod    time.Duration // how long /livez forgives hooks that have not ended
	ShutdownDelay       time.Duration // how long a stopping server still serves while /readyz fails
	ShutdownRetryAfter  bool          // after the delay, answer 429 with Retry-After until running requests have ended, in place of refusing connections
	ShutdownWatchGrace  time.Duration // how long a stopping server waits for watches that it ends one after the other; 0 does not wait
}

// Profiling shows where the server spends time and memory.
type Profiling struct {
	Enabled    bool   // serve /debug/pprof and /debug/flags to those who may read them
	Contention bool   // record where goroutines block; costs time
	Socket     string // path of a Unix socket that serves them without asking who it is; "" is none
}

// DefaultLimits answers upstream's defaults.
func DefaultLimits() Limits {
	return Limits{MaxRequests: 400, MaxMutatingRequests: 200, Fairness: true, RequestTimeout: time.Minute, MinRequestTimeout: 1800}
}

// maxGoawayChance is where reconnecting would cost more than it balances.
const maxGoawayChance = 0.02

func (c *Config) validateLimits() error {
	l := &c.Limits
	for key, n := range map[string]int{
		"max-requests-inflight": l.MaxRequests, "max-mutating-requests-inflight": l.MaxMutatingRequests,
		"min-request-timeout": l.MinRequestTimeout, "http2-max-streams-per-connection": l.MaxStreams,
	} {
		if n < 0 {
			return &Error{key, fmt.Sprintf("%d is negative", n), "give a number from 0 on"}
		}
	}
	for key, d := range map[string]time.Duration{"livez-grace-period": l.LivezGracePeriod, "shutdown-delay-duration": l.ShutdownDelay, "shutdown-watch-termination-grace-period": l.ShutdownWatchGrace} {
		if d < 0 {
			return &Error{key, fmt.Sprintf("%s is negative", d), "give a duration such as 30s"}
		}
	}
	if l.RequestTimeout <= 0 {
		return &Error{"request-timeout", fmt.Sprintf("%s is not positive", l.RequestTimeout), "give a duration such as 1m"}
	}
	if l.Fairness && l.MaxRequests+l.MaxMutatingRequests == 0 {
		return &Error{"max-requests-inflight", "leaves no request a seat together with max-mutating-requests-inflight", "let one be above 0, or turn enable-priority-and-fairness off"}
	}
	if l.GoawayChance < 0 || l.GoawayChance > maxGoawayChance {
		return &Error{"goaway-chance", fmt.Sprintf("%v is not a chance from 0 to %v", l.GoawayChance, maxGoawayChance), "give one such as 0.001"}
	}
	return nil
}

func (c *Config) validateProfiling() error {
	p := &c.Profiling
	if p.Socket == "" {
		return nil
	}
	if !filepath.IsAbs(p.Socket) {
		return &Error{"debug-socket-path", fmt.Sprintf("%q is not an absolute path", p.Socket), "give a path that begins with /"}
	}
	if info, err := os.Lstat(p.Socket); err == nil && info.Mode().Type() != fs.ModeSocket {
		return &Error{"debug-socket-path", fmt.Sprintf("%q exists and is no socket", p.Socket), "give a path where nothing is"}
	}
	return nil
}

// Encryption is how objects are written to etcd.
type Encryption struct {
	ConfigFile      string // an apiserver.config.k8s.io/v1 EncryptionConfiguration; "" writes them in clear
	AutomaticReload bool   // follow the file while the server runs
}

func (c *Config) validateEncryption() error {
	e := &c.Encryption
	if e.ConfigFile == "" && e.AutomaticReload {
		return &Error{"encryption-provider-config-automatic-reload", "there is no file to reload", "name one with encryption-provider-config"}
	}
	if e.ConfigFile != "" && !filepath.IsAbs(e.ConfigFile) {
		return &Error{"encryption-provider-config", fmt.Sprintf("%q is not an absolute path", e.ConfigFile), "give a path that begins with /"}
	}
	return nil
}
