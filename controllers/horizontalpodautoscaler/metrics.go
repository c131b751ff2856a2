package horizontalpodautoscaler

import (
	"errors"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/component-base/metrics"

	"skiff/controllers/internal/controller"
)

const subsystem = "horizontal_pod_autoscaler_controller"

// Labels of the metrics.
const (
	scaleUp   = "scale_up"
	scaleDown = "scale_down"
	none      = "none"
	internal  = "internal"
	spec      = "spec"
)

// counters are the metrics, under upstream's names.
type counters struct {
	rounds, computations, stale  *metrics.CounterVec
	roundTimes, computationTimes *metrics.HistogramVec
	autoscalers                  *metrics.Gauge
	desired                      *metrics.GaugeVec
}

func newCounters() *counters {
	const labels = "The label 'action' should be either 'scale_down', 'scale_up', or 'none'. Also, the label 'error' should be either 'spec', 'internal', or 'none'."
	buckets := metrics.ExponentialBuckets(0.001, 2, 15)
	histogram := func(name, help string, labels ...string) *metrics.HistogramVec {
		return metrics.NewHistogramVec(&metrics.HistogramOpts{Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.BETA}, labels)
	}
	counter := func(level metrics.StabilityLevel, name, help string, labels ...string) *metrics.CounterVec {
		return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: level}, labels)
	}
	return &counters{
		rounds:           counter(metrics.BETA, "reconciliations_total", "Number of reconciliations of HPA controller. "+labels, "action", "error"),
		roundTimes:       histogram("reconciliation_duration_seconds", "The time(seconds) that the HPA controller takes to reconcile once. "+labels, "action", "error"),
		computations:     counter(metrics.BETA, "metric_computation_total", "Number of metric computations. "+labels, "action", "error", "metric_type"),
		computationTimes: histogram("metric_computation_duration_seconds", "The time(seconds) that the HPA controller takes to calculate one metric. "+labels, "action", "error", "metric_type"),
		stale:            counter(metrics.ALPHA, "stale_sync_skips_total", "Total number of HPA syncs skipped due to a stale watch cache.", "group", "resource"),
		autoscalers: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "num_horizontal_pod_autoscalers", Help: "Current number of controlled HPA objects.", StabilityLevel: metrics.ALPHA,
		}),
		desired: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "desired_replicas", Help: "Current desired replica count for HPA objects.", StabilityLevel: metrics.ALPHA,
		}, []string{"namespace", "hpa_name"}),
	}
}

// register shows the metrics.
func (c *counters) register(registry controller.Registry) error {
	return controller.Register(registry, "the autoscaler", c.rounds, c.roundTimes, c.computations, c.computationTimes, c.stale, c.autoscalers, c.desired)
}

// round counts a round and what its metrics proposed, given how long reading each took.
func (c *counters) round(p Plan, before, current int32, took time.Duration, reads []time.Duration) {
	action := none
	if p.Scaled {
		action = direction(p.Replicas, current)
	}
	c.rounds.WithLabelValues(action, blame(p.Err)).Inc()
	c.roundTimes.WithLabelValues(action, blame(p.Err)).Observe(took.Seconds())
	for i, m := range p.Computed {
		action := direction(m.Replicas, before)
		if m.Err != nil {
			action = none
		}
		c.computations.WithLabelValues(action, blame(m.Err), string(m.Type)).Inc()
		c.computationTimes.WithLabelValues(action, blame(m.Err), string(m.Type)).Observe(reads[i].Seconds())
	}
}

// want shows the number of pods that an autoscaler decided on.
func (c *counters) want(key controller.Key, replicas int32) {
	c.desired.WithLabelValues(key.Namespace, key.Name).Set(float64(replicas))
}

// skip counts a round that waited for the cache.
func (c *counters) skip() {
	c.stale.WithLabelValues(autoscalingv2.GroupName, "horizontalpodautoscalers").Inc()
}

func direction(replicas, from int32) string {
	switch {
	case replicas > from:
		return scaleUp
	case replicas < from:
		return scaleDown
	default:
		return none
	}
}

func blame(err error) string {
	switch {
	case err == nil:
		return none
	case errors.Is(err, errSpec):
		return spec
	default:
		return internal
	}
}
