// Package probes runs the startup, readiness and liveness probes of one pod's containers.
//
// A Set belongs to one pod's worker. Sync tells it which containers run; it starts one loop per probe and ends those of containers
// that are gone. A loop probes when its container's initial delay is over and then once per period; the first result and each
// result that reaches its threshold is the probe's result. Readiness and liveness wait for the startup probe. Whoever owns the
// set is told by a callback when a result changes and reads Health.
package probes

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind is what a probe is for; its text is how users know it.
type Kind string

// The kinds.
const (
	Startup   Kind = "Startup"
	Readiness Kind = "Readiness"
	Liveness  Kind = "Liveness"
)

// Health is what probes found of one container.
type Health struct {
	// Started is true once the startup probe has succeeded, Ready when it has and the readiness probe succeeds.
	Started, Ready bool
	// Dead names the probe that demands a restart: "liveness", "startup" or "".
	Dead string
}

// Exec runs commands in containers.
type Exec interface {
	ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (stdout, stderr []byte, code int32, err error)
}

// Recorder takes the events about failed probes.
type Recorder interface {
	Event(pod *corev1.Pod, container, kind, reason, message string)
}

// Running is a container that runs.
type Running struct {
	ID      string
	Spec    *corev1.Container
	Started time.Time
}

// Set holds the probes of one pod.
type Set struct {
	exec    Exec
	events  Recorder
	changed func()

	mu         sync.Mutex
	containers map[string]*watched
	loops      sync.WaitGroup
}

// watched is one running container.
type watched struct {
	// cancel ends every probe, calm those that would restart the container.
	cancel, calm context.CancelFunc
	pod          *corev1.Pod
	ips          []string
	spec         *corev1.Container
	// results holds what each probe that the container has found.
	results map[Kind]bool
	// started is closed when the startup probe has succeeded.
	started chan struct{}
}

// NewSet makes a set that calls changed, from any goroutine, when a result changes.
func NewSet(exec Exec, events Recorder, changed func()) *Set {
	return &Set{exec: exec, events: events, changed: changed, containers: map[string]*watched{}}
}

// Sync makes the probes of exactly the given containers run. Of a pod that ends only readiness is probed.
func (s *Set) Sync(ctx context.Context, pod *corev1.Pod, ips []string, running []Running, ending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := map[string]bool{}
	for _, c := range running {
		now[c.ID] = true
		if known := s.containers[c.ID]; known != nil {
			known.pod, known.ips = pod, ips
			if ending {
				known.calm()
			}
			continue
		}
		s.begin(ctx, pod, ips, c, ending)
	}
	for id, known := range s.containers {
		if !now[id] {
			known.cancel()
			delete(s.containers, id)
		}
	}
}

func (s *Set) begin(ctx context.Context, pod *corev1.Pod, ips []string, c Running, ending bool) {
	ctx, cancel := context.WithCancel(ctx)
	restarting, calm := context.WithCancel(ctx)
	w := &watched{cancel: cancel, calm: calm, pod: pod, ips: ips, spec: c.Spec, results: map[Kind]bool{}, started: make(chan struct{})}
	s.containers[c.ID] = w
	if c.Spec.StartupProbe == nil || ending {
		close(w.started)
	}
	for _, probe := range []struct {
		kind  Kind
		spec  *corev1.Probe
		first bool
	}{{Startup, c.Spec.StartupProbe, false}, {Readiness, c.Spec.ReadinessProbe, false}, {Liveness, c.Spec.LivenessProbe, true}} {
		if probe.spec == nil || (ending && probe.kind != Readiness) {
			continue
		}
		w.results[probe.kind] = probe.first
		l := &loop{set: s, of: w, id: c.ID, kind: probe.kind, spec: probe.spec, started: c.Started}
		until := ctx
		if probe.kind != Readiness {
			until = restarting
		}
		s.loops.Go(func() { l.run(until) })
	}
}

// Health answers what is known of every container that Sync named, by id.
func (s *Set) Health() map[string]Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Health{}
	for id, w := range s.containers {
		h := Health{}
		select {
		case <-w.started:
			h.Started = true
		default:
		}
		ready, probed := w.results[Readiness]
		h.Ready = h.Started && (ready || !probed)
		if alive, probed := w.results[Liveness]; probed && !alive {
			h.Dead = "liveness"
		}
		if failed, known := w.results[startupFailed]; known && failed {
			h.Dead = "startup"
		}
		out[id] = h
	}
	return out
}

// startupFailed is the result that marks a container whose startup probe has failed for good.
const startupFailed Kind = "startup failed"

// Close ends all probes and waits for them.
func (s *Set) Close() {
	s.mu.Lock()
	for id, w := range s.containers {
		w.cancel()
		delete(s.containers, id)
	}
	s.mu.Unlock()
	s.loops.Wait()
}
