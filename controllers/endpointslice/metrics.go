package endpointslice

import (
	"k8s.io/endpointslice/metrics"

	"skiff/controllers/internal/controller"
)

// registerMetrics shows what k8s.io/endpointslice counts. It belongs to the process: of several servers in one, all
// count together.
func registerMetrics(registry controller.Registry) error {
	return controller.Register(registry, "endpoint slices",
		metrics.EndpointsAddedPerSync, metrics.EndpointsRemovedPerSync, metrics.EndpointsDesired, metrics.NumEndpointSlices,
		metrics.DesiredEndpointSlices, metrics.EndpointSliceChanges, metrics.EndpointSlicesChangedPerSync,
		metrics.EndpointSliceSyncs, metrics.ServicesCountByTrafficDistribution)
}

// count counts a round; one that waits for the cache is stale.
func count(result controller.Result, err error) {
	label := "success"
	switch {
	case err != nil:
		label = "error"
	case result.RequeueAfter > 0:
		label = "stale"
	}
	metrics.EndpointSliceSyncs.WithLabelValues(label).Inc()
}
