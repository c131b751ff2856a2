package scheduler

import "k8s.io/component-base/metrics"

// stateCollector reads queue and cache when metrics are asked for, so that keeping these gauges costs nothing otherwise.
type stateCollector struct {
	metrics.BaseStableCollector
	s                                          *Scheduler
	pending, queued, inFlight, reasons, cached *metrics.Desc
}

func newStateCollector(s *Scheduler) *stateCollector {
	desc := func(level metrics.StabilityLevel, name, help string, labels ...string) *metrics.Desc {
		return metrics.NewDesc(subsystem+"_"+name, help, labels, nil, level, "")
	}
	return &stateCollector{
		s: s,
		pending: desc(metrics.STABLE, "pending_pods", "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; "+
			"'unschedulable' means number of pods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.", "queue"),
		queued:   desc(metrics.ALPHA, "queued_entities", "Number of queued scheduling entities by the queue type; each is a pod.", "queue", "type"),
		inFlight: desc(metrics.ALPHA, "inflight_events", "Number of events currently tracked in the scheduling queue.", "event"),
		reasons: desc(metrics.BETA, "unschedulable_pods", "The number of unschedulable pods broken down by plugin name. "+
			"A pod will increment the gauge for all plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.", "plugin", "profile"),
		cached: desc(metrics.ALPHA, "cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.", "type"),
	}
}

// DescribeWithStability implements metrics.StableCollector.
func (c *stateCollector) DescribeWithStability(ch chan<- *metrics.Desc) {
	for _, desc := range []*metrics.Desc{c.pending, c.queued, c.inFlight, c.reasons, c.cached} {
		ch <- desc
	}
}

// CollectWithStability implements metrics.StableCollector.
func (c *stateCollector) CollectWithStability(ch chan<- metrics.Metric) {
	gauge := func(desc *metrics.Desc, n int, labels ...string) {
		ch <- metrics.NewLazyConstMetric(desc, metrics.GaugeValue, float64(n), labels...)
	}
	for name, n := range c.s.queue.Counts() {
		gauge(c.pending, n, name)
		gauge(c.queued, n, name, "pod")
	}
	for event, n := range c.s.queue.InFlight() {
		gauge(c.inFlight, n, event)
	}
	for reason, n := range c.s.queue.Reasons() {
		gauge(c.reasons, n, reason.Plugin, reason.Profile)
	}
	size := c.s.cache.Size()
	for name, n := range map[string]int{"nodes": size.Nodes, "pods": size.Pods, "assumed_pods": size.AssumedPods} {
		gauge(c.cached, n, name)
	}
}
