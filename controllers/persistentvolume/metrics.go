package persistentvolume

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"

	"skiff/controllers/internal/controller"
)

// notAvailable is the plugin that nobody knows.
const notAvailable = "N/A"

// operation is what somebody else does for a claim or a volume, since it was asked for.
type operation struct {
	uid          types.UID
	plugin, name string
	began        time.Time
}

// The operations that are counted.
const (
	provisioning = "provision"
	deleting     = "delete"
)

// counters are the metrics, under upstream's names. They are used by one worker.
type counters struct {
	seconds               *metrics.HistogramVec
	failures, oldFailures *metrics.CounterVec
	assigned, notAssigned *metrics.Counter
	running               map[controller.Key]operation
}

func newCounters() *counters {
	counter := func(name, help string) *metrics.Counter {
		return metrics.NewCounter(&metrics.CounterOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA})
	}
	labels := []string{"plugin_name", "operation_name"}
	return &counters{
		seconds: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Name: "volume_operation_total_seconds", Help: "Storage operation end to end duration in seconds", StabilityLevel: metrics.BETA,
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600},
		}, labels),
		failures: metrics.NewCounterVec(&metrics.CounterOpts{Name: "volume_operation_errors_total", Help: "Total volume operation errors", StabilityLevel: metrics.ALPHA}, labels),
		oldFailures: metrics.NewCounterVec(&metrics.CounterOpts{
			Name: "volume_operation_total_errors", Help: "Total volume operation errors", StabilityLevel: metrics.ALPHA, DeprecatedVersion: "1.36.0",
		}, labels),
		assigned:    counter("retroactive_storageclass_total", "Total number of retroactive StorageClass assignments to persistent volume claim"),
		notAssigned: counter("retroactive_storageclass_errors_total", "Total number of failed retroactive StorageClass assignments to persistent volume claim"),
		running:     map[controller.Key]operation{},
	}
}

// register shows the metrics, and counts what the lists have whenever somebody asks.
func (c *counters) register(registry controller.Registry, volumes, claims func() []any) error {
	if err := controller.Register(registry, "persistent volumes", c.seconds, c.failures, c.oldFailures, c.assigned, c.notAssigned); err != nil {
		return err //nolint:wrapcheck // says all that is to say
	}
	if err := registry.CustomRegister(newCollector(volumes, claims)); err != nil {
		return fmt.Errorf("registering the counts of persistent volumes: %w", err)
	}
	return nil
}

// begin notes that the plugin was asked for the operation, unless it has been before.
func (c *counters) begin(key controller.Key, o operation) {
	if known, ok := c.running[key]; !ok || known.uid != o.uid {
		c.running[key] = o
	}
}

// end counts that the operation on what has the key failed, and may succeed yet, or took so long. Without a begin it
// counts nothing.
func (c *counters) end(key controller.Key, err error, now time.Time) {
	o, ok := c.running[key]
	switch {
	case !ok:
	case err != nil:
		c.failures.WithLabelValues(o.plugin, o.name).Inc()
		c.oldFailures.WithLabelValues(o.plugin, o.name).Inc()
	default:
		c.seconds.WithLabelValues(o.plugin, o.name).Observe(now.Sub(o.began).Seconds())
		delete(c.running, key)
	}
}

// drop forgets an operation that ends without a result.
func (c *counters) drop(key controller.Key) { delete(c.running, key) }

// assign counts that a claim was given the default class, or that this failed.
func (c *counters) assign(err error) {
	c.assigned.Inc()
	if err != nil {
		c.notAssigned.Inc()
	}
}

// source names the plugin of those that can make, delete or empty volumes that a volume is of.
func source(volume *corev1.PersistentVolume) string {
	switch {
	case volume.Spec.HostPath != nil:
		return hostPath
	case volume.Spec.NFS != nil:
		return nfs
	}
	return notAvailable
}
