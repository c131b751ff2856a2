package endpointslicemirroring

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"skiff/controllers/internal/controller"
)

const subsystem = "endpoint_slice_mirroring_controller"

// What is counted, under upstream's names. Servers of one process share it.
var (
	endpointsAdded   = histogram("endpoints_added_per_sync", "Number of endpoints added on each Endpoints sync", 2)
	endpointsUpdated = histogram("endpoints_updated_per_sync", "Number of endpoints updated on each Endpoints sync", 2)
	endpointsRemoved = histogram("endpoints_removed_per_sync", "Number of endpoints removed on each Endpoints sync", 2)
	addressesSkipped = histogram("addresses_skipped_per_sync", "Number of addresses skipped on each Endpoints sync due to being invalid or exceeding MaxEndpointsPerSubset", 2)
	syncDuration     = histogram("endpoints_sync_duration", "Duration of syncEndpoints() in seconds", 0.001)
	endpointsDesired = gauge("endpoints_desired", "Number of endpoints desired")
	slicesActual     = gauge("num_endpoint_slices", "Number of EndpointSlices")
	slicesDesired    = gauge("desired_endpoint_slices", "Number of EndpointSlices that would exist with perfect endpoint allocation")
	changes          = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem: subsystem, Name: "changes", Help: "Number of EndpointSlice changes", StabilityLevel: metrics.ALPHA,
	}, []string{"operation"})
)

var register = sync.OnceFunc(func() { //nolint:gochecknoglobals // the registry is the process's
	legacyregistry.MustRegister(endpointsAdded, endpointsUpdated, endpointsRemoved, addressesSkipped, syncDuration,
		endpointsDesired, slicesActual, slicesDesired, changes)
})

func histogram(name, help string, first float64) *metrics.HistogramVec {
	return metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA, Buckets: metrics.ExponentialBuckets(first, 2, 15),
	}, nil)
}

func gauge(name, help string) *metrics.GaugeVec {
	return metrics.NewGaugeVec(&metrics.GaugeOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA}, nil)
}

// counts sums what is mirrored for all services.
type counts struct {
	mu     sync.Mutex
	of     map[controller.Key]sum
	totals sum
}

// sum counts the endpoints wanted, the slices there are and the slices there would be if they were full.
type sum struct{ endpoints, slices, full int }

func (c *counts) set(key controller.Key, packing map[string]Packing) {
	var s sum
	for _, p := range packing {
		s.endpoints += p.Endpoints
		s.slices += p.Slices
		s.full += (p.Endpoints + capacity - 1) / capacity
	}
	c.replace(key, s)
}

func (c *counts) forget(key controller.Key) { c.replace(key, sum{}) }

func (c *counts) replace(key controller.Key, s sum) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[controller.Key]sum{}
	}
	was := c.of[key]
	c.totals.endpoints += s.endpoints - was.endpoints
	c.totals.slices += s.slices - was.slices
	c.totals.full += s.full - was.full
	if c.of[key] = s; s == (sum{}) {
		delete(c.of, key)
	}
	endpointsDesired.WithLabelValues().Set(float64(c.totals.endpoints))
	slicesActual.WithLabelValues().Set(float64(c.totals.slices))
	slicesDesired.WithLabelValues().Set(float64(c.totals.full))
}
