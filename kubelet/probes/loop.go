package probes

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// result is one probe's outcome and what users are told of it.
type result struct {
	ok     bool
	output string
	err    error
}

// loop runs one probe of one container.
type loop struct {
	set     *Set
	of      *watched
	id      string
	kind    Kind
	spec    *corev1.Probe
	started time.Time
}

// run probes until ctx ends or the probe has no more to find out.
func (l *loop) run(ctx context.Context) {
	if l.kind != Startup {
		select {
		case <-l.of.started:
		case <-ctx.Done():
			return
		}
	}
	period := seconds(l.spec.PeriodSeconds, 10)
	timer := time.NewTimer(max(0, time.Until(l.started.Add(time.Duration(l.spec.InitialDelaySeconds)*time.Second))))
	defer timer.Stop()
	last, run := false, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(period)
		got := l.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if got.err != nil {
			// The probe could not be made: what is known stays, but users learn of it.
			l.event("%s probe errored and resulted in %s state: %v", l.kind, "unknown", got.err)
			continue
		}
		if run > 0 && got.ok == last {
			run++
		} else {
			last, run = got.ok, 1
		}
		if !got.ok {
			l.event("%s probe failed: %s", l.kind, got.output)
		}
		if run < l.threshold(got.ok) {
			continue
		}
		if over := l.settle(got.ok); over {
			return
		}
		if l.kind != Readiness && !got.ok {
			run = 0
		}
	}
}

// threshold is how many equal results in a row make the probe's result.
func (l *loop) threshold(ok bool) int {
	if ok {
		return int(max(l.spec.SuccessThreshold, 1))
	}
	if l.spec.FailureThreshold == 0 {
		return 3
	}
	return int(l.spec.FailureThreshold)
}

// settle records the probe's result and reports whether the probe is over: a startup probe once it is decided, a liveness probe
// once it failed, since its container is then replaced.
func (l *loop) settle(ok bool) bool {
	l.set.mu.Lock()
	changed, over := false, false
	switch l.kind {
	case Startup:
		over, changed = true, true
		l.of.results[startupFailed] = !ok
		if ok {
			close(l.of.started)
		}
	default:
		changed = l.of.results[l.kind] != ok
		l.of.results[l.kind] = ok
		over = l.kind == Liveness && !ok
	}
	l.set.mu.Unlock()
	if changed {
		l.set.changed()
	}
	return over
}

func (l *loop) event(format string, args ...any) {
	l.set.mu.Lock()
	pod := l.of.pod
	l.set.mu.Unlock()
	l.set.events.Event(pod, l.of.spec.Name, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf(format, args...))
}

func seconds(n int32, otherwise int32) time.Duration {
	if n <= 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}

// probe makes one attempt.
func (l *loop) probe(ctx context.Context) result {
	timeout := seconds(l.spec.TimeoutSeconds, 1)
	l.set.mu.Lock()
	pod, ips := l.of.pod, l.of.ips
	l.set.mu.Unlock()
	switch h := l.spec.ProbeHandler; {
	case h.Exec != nil:
		return execProbe(ctx, l.set.exec, l.id, h.Exec.Command, timeout)
	case h.HTTPGet != nil:
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return httpProbe(ctx, Request{Pod: pod, Container: l.of.spec, PodIPs: ips, Action: h.HTTPGet, UserAgent: "kube-probe/1.37"})
	case h.TCPSocket != nil:
		return tcpProbe(ctx, h.TCPSocket, l.of.spec, ips, timeout)
	case h.GRPC != nil:
		return grpcProbe(ctx, h.GRPC, ips, timeout)
	}
	return result{err: fmt.Errorf("missing probe handler for %s/%s", pod.Namespace, pod.Name)}
}
