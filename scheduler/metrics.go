package scheduler

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"
)

const subsystem = "scheduler"

// schedulerMetrics are the metrics, under upstream's names.
type schedulerMetrics struct {
	attempts                       *metrics.CounterVec
	attemptDuration, sliDuration   *metrics.HistogramVec
	algorithm, podAttempts, victim *metrics.Histogram
	preemptions                    *metrics.Counter
	incomingPods                   *metrics.CounterVec
	goroutines                     *metrics.GaugeVec
	state                          *stateCollector
	registry                       metrics.KubeRegistry
}

func newMetrics(s *Scheduler) *schedulerMetrics {
	return &schedulerMetrics{
		attempts:        counterVec("schedule_attempts_total", "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.", "result", "profile"),
		attemptDuration: histogramVec("scheduling_attempt_duration_seconds", "Scheduling attempt latency in seconds (scheduling algorithm + binding)", metrics.ExponentialBuckets(0.001, 2, 15), "result", "profile"),
		sliDuration:     histogramVec("pod_scheduling_sli_duration_seconds", "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.", metrics.ExponentialBuckets(0.01, 2, 20), "attempts"),
		algorithm:       histogram("scheduling_algorithm_duration_seconds", "Scheduling algorithm latency in seconds", metrics.ExponentialBuckets(0.001, 2, 15)),
		podAttempts:     histogram("pod_scheduling_attempts", "Number of attempts to successfully schedule a pod.", metrics.ExponentialBuckets(1, 2, 5)),
		victim:          histogram("preemption_victims", "Number of selected preemption victims", metrics.ExponentialBuckets(1, 2, 7)),
		preemptions: metrics.NewCounter(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "preemption_attempts_total", Help: "Total preemption attempts in the cluster till now", StabilityLevel: metrics.STABLE,
		}),
		incomingPods: counterVec("queue_incoming_pods_total", "Number of pods added to scheduling queues by event and queue type.", "queue", "event"),
		goroutines: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "goroutines", Help: "Number of running goroutines split by the work they do such as binding.", StabilityLevel: metrics.ALPHA,
		}, []string{"operation"}),
		state: newStateCollector(s),
	}
}

func counterVec(name, help string, labels ...string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.STABLE}, labels)
}

func histogramVec(name, help string, buckets []float64, labels ...string) *metrics.HistogramVec {
	return metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.STABLE,
	}, labels)
}

func histogram(name, help string, buckets []float64) *metrics.Histogram {
	return metrics.NewHistogram(&metrics.HistogramOpts{
		Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.STABLE,
	})
}

func (m *schedulerMetrics) register(registry Registry) error {
	m.registry = metrics.NewKubeRegistry()
	if registry == nil {
		registry = m.registry
	}
	for _, metric := range []metrics.Registerable{
		m.attempts, m.attemptDuration, m.sliDuration, m.algorithm, m.podAttempts, m.victim, m.preemptions, m.incomingPods, m.goroutines,
	} {
		if err := registry.Register(metric); err != nil {
			return fmt.Errorf("registering the scheduler's metrics: %w", err)
		}
	}
	if err := registry.CustomRegister(m.state); err != nil {
		return fmt.Errorf("registering the scheduler's metrics: %w", err)
	}
	return nil
}

// Metrics answers the registry that holds the scheduler's metrics when none was given in Deps.
func (s *Scheduler) Metrics() metrics.KubeRegistry { return s.metrics.registry }

func (m *schedulerMetrics) incoming(queue, event string) {
	m.incomingPods.WithLabelValues(queue, event).Inc()
}

// Preempted counts a preemption.
func (m *schedulerMetrics) Preempted(victims int) {
	m.preemptions.Inc()
	m.victim.Observe(float64(victims))
}

func (m *schedulerMetrics) scheduled(a *attempt) {
	profile := a.profile.Name()
	m.attempts.WithLabelValues("scheduled", profile).Inc()
	m.attemptDuration.WithLabelValues("scheduled", profile).Observe(time.Since(a.start).Seconds())
	m.podAttempts.Observe(float64(a.queued.Attempts))
	attempts := "15+"
	if a.queued.Attempts < 15 {
		attempts = strconv.Itoa(a.queued.Attempts)
	}
	m.sliDuration.WithLabelValues(attempts).Observe(time.Since(a.queued.InitialAttempt).Seconds())
}

func (m *schedulerMetrics) failed(profile, reason string, took time.Duration) {
	result := "error"
	if reason == corev1.PodReasonUnschedulable {
		result = "unschedulable"
	}
	m.attempts.WithLabelValues(result, profile).Inc()
	m.attemptDuration.WithLabelValues(result, profile).Observe(took.Seconds())
}

// stateCollector reads queue and cache when metrics are asked for, so that keeping these gauges costs nothing otherwise.
type stateCollector struct {
	metrics.BaseStableCollector
	s             *Scheduler
	pending, size *metrics.Desc
}

func newStateCollector(s *Scheduler) *stateCollector {
	return &stateCollector{
		s: s,
		pending: metrics.NewDesc("scheduler_pending_pods", "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
			[]string{"queue"}, nil, metrics.STABLE, ""),
		size: metrics.NewDesc("scheduler_cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
			[]string{"type"}, nil, metrics.ALPHA, ""),
	}
}

// DescribeWithStability implements metrics.StableCollector.
func (c *stateCollector) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- c.pending
	ch <- c.size
}

// CollectWithStability implements metrics.StableCollector.
func (c *stateCollector) CollectWithStability(ch chan<- metrics.Metric) {
	for name, n := range c.s.queue.Counts() {
		ch <- metrics.NewLazyConstMetric(c.pending, metrics.GaugeValue, float64(n), name)
	}
	size := c.s.cache.Size()
	for name, n := range map[string]int{"nodes": size.Nodes, "pods": size.Pods, "assumed_pods": size.AssumedPods} {
		ch <- metrics.NewLazyConstMetric(c.size, metrics.GaugeValue, float64(n), name)
	}
}
