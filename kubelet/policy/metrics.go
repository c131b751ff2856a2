package policy

import (
	"fmt"
	"time"

	"k8s.io/component-base/metrics"
)

// Metrics takes metrics to show.
type Metrics interface {
	Register(metrics.Registerable) error
}

// measures is what is counted.
type measures struct {
	duration *metrics.HistogramVec
	failures *metrics.CounterVec
}

// newMeasures registers with to, if that isn't nil.
func newMeasures(to Metrics) (*measures, error) {
	m := &measures{
		duration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: "network_policy", Name: "sync_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help:    "Time to bring network policies to the kernel, by whether the whole ruleset was made anew",
			Buckets: metrics.ExponentialBuckets(0.0005, 4, 8),
		}, []string{"whole"}),
		failures: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: "network_policy", Name: "sync_failures_total", StabilityLevel: metrics.ALPHA,
			Help: "Number of times that network policies could not be brought to the kernel, by whether the whole ruleset was to be made anew",
		}, []string{"whole"}),
	}
	if to == nil {
		to = metrics.NewKubeRegistry() // where nobody looks
	}
	for _, r := range []metrics.Registerable{m.duration, m.failures} {
		if err := to.Register(r); err != nil {
			return nil, fmt.Errorf("registering %s: %w", r.FQName(), err)
		}
	}
	return m, nil
}

func (m *measures) synced(whole bool, err error, took time.Duration) {
	label := fmt.Sprint(whole)
	if err != nil {
		m.failures.WithLabelValues(label).Inc()
		return
	}
	m.duration.WithLabelValues(label).Observe(took.Seconds())
}
