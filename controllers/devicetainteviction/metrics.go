package devicetainteviction

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const subsystem = "device_taint_eviction_controller"

// The registry belongs to the process, and so do these.
var (
	deletions = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem: subsystem, Name: "pod_deletions_total",
		Help: "Number of pods deleted because of their devices' taints", StabilityLevel: metrics.ALPHA,
	})
	latency = metrics.NewHistogram(&metrics.HistogramOpts{
		Subsystem: subsystem, Name: "pod_deletion_duration_seconds",
		Help:    "How long after the time that it had to go a pod is deleted because of its devices' taints",
		Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 30, 60, 120, 180, 240}, StabilityLevel: metrics.ALPHA,
	})
	registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(deletions, latency) })
)
