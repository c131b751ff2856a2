package proxy

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/component-base/metrics"
)

// Metrics takes metrics to show.
type Metrics interface {
	Register(metrics.Registerable) error
}

// measures is what is counted. No label's values are chosen by clients or users.
type measures struct {
	requests    *metrics.CounterVec
	duration    *metrics.HistogramVec
	retries     *metrics.Counter
	reloads     *metrics.Counter
	connections *metrics.GaugeVec
	evicted     *metrics.CounterVec
	refused     *metrics.CounterVec
}

// newMeasures registers with to, if that isn't nil.
func newMeasures(to Metrics) (*measures, error) {
	counter := func(name, help string) *metrics.CounterOpts {
		return &metrics.CounterOpts{Subsystem: "ingress", Name: name, Help: help, StabilityLevel: metrics.ALPHA}
	}
	m := &measures{
		requests: metrics.NewCounterVec(counter("requests_total", "Number of requests to the ingress, by method and class of status"), []string{"method", "code"}),
		duration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: "ingress", Name: "request_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help:    "Time from the header of a request to the header of its answer, by class of status",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"code"}),
		retries: metrics.NewCounter(counter("backend_retries_total", "Number of times that a request was sent to another endpoint because one could not be reached")),
		reloads: metrics.NewCounter(counter("reloads_total", "Number of times that the routes were replaced")),
		connections: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Subsystem: "ingress", Name: "connections", StabilityLevel: metrics.ALPHA, Help: "Number of open connections of clients, by listener",
		}, []string{"listener"}),
		evicted: metrics.NewCounterVec(counter("connections_evicted_total", "Number of waiting connections that were closed because others came, by listener"), []string{"listener"}),
		refused: metrics.NewCounterVec(counter("connections_refused_total", "Number of connections that were closed at once because all others were busy, by listener"), []string{"listener"}),
	}
	if to == nil {
		to = metrics.NewKubeRegistry() // where nobody looks
	}
	for _, r := range []metrics.Registerable{m.requests, m.duration, m.retries, m.reloads, m.connections, m.evicted, m.refused} {
		if err := to.Register(r); err != nil {
			return nil, fmt.Errorf("registering %s: %w", r.FQName(), err)
		}
	}
	return m, nil
}

func (m *measures) request(method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	class := fmt.Sprintf("%dxx", status/100)
	m.requests.WithLabelValues(method, class).Inc()
	m.duration.WithLabelValues(class).Observe(took.Seconds())
}
