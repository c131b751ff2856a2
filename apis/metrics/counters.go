package metrics

import (
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// What sampling counts, under metrics-server's names. The registry belongs to
// the process, and so do these.
var (
	requests = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: "metrics_server", Subsystem: "kubelet", Name: "request_total",
		Help: "Number of requests sent to kubelets for resource metrics", StabilityLevel: metrics.ALPHA,
	}, []string{"success"})
	tickSeconds = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace: "metrics_server", Subsystem: "manager", Name: "tick_duration_seconds",
		Help: "How long it takes to sample all nodes", Buckets: metrics.DefBuckets, StabilityLevel: metrics.ALPHA,
	}, nil)
	points = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "metrics_server", Subsystem: "storage", Name: "points",
		Help: "Number of rates that can be answered, by what they are of", StabilityLevel: metrics.ALPHA,
	}, []string{"type"})
	freshness = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace: "metrics_server", Subsystem: "api", Name: "metric_freshness_seconds",
		Help: "How old the answered metrics are", Buckets: metrics.ExponentialBuckets(1, 1.364, 20), StabilityLevel: metrics.ALPHA,
	}, nil)
	registerCounters = sync.OnceFunc(func() {
		legacyregistry.MustRegister(requests, tickSeconds, points, freshness)
		countPoints(nil) // shown as 0 from the start
	})
)

func countPoints(known map[string]history) {
	var nodes, containers int
	for _, h := range known {
		n, c := h.points()
		nodes, containers = nodes+n, containers+c
	}
	points.WithLabelValues("node").Set(float64(nodes))
	points.WithLabelValues("container").Set(float64(containers))
}

// answered counts the age of a metric that is answered.
func answered(measured, now time.Time) {
	freshness.WithLabelValues().Observe(now.Sub(measured).Seconds())
}
