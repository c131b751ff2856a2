package scheduler

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"

	"skiff/scheduler/framework"
)

const subsystem = "scheduler"

// sampled is one in how many cycles and hints is timed plugin by plugin, as upstream does.
const sampled = 10

// schedulerMetrics are the metrics, under upstream's names. It is the framework's and the preemption's observer.
type schedulerMetrics struct {
	attempts, incomingPods, incomingEntities, evaluations, evictions *metrics.CounterVec
	preemptions, flushed                                             *metrics.Counter
	attemptDuration, sliDuration, points, plugins, hints             *metrics.HistogramVec
	events, permitWait                                               *metrics.HistogramVec
	algorithm, podAttempts, victims                                  *metrics.Histogram
	goroutines                                                       *metrics.GaugeVec
	state                                                            *stateCollector
	registry                                                         metrics.KubeRegistry
}

func newMetrics(s *Scheduler) *schedulerMetrics {
	// Powers from a millisecond, a tenth of it, a hundredth of it on.
	slow, fast, fine := metrics.ExponentialBuckets(0.001, 2, 15), metrics.ExponentialBuckets(0.0001, 2, 12), metrics.ExponentialBuckets(0.00001, 1.5, 20)
	return &schedulerMetrics{
		attempts:         counterVec(metrics.STABLE, "schedule_attempts_total", "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.", "result", "profile"),
		incomingPods:     counterVec(metrics.STABLE, "queue_incoming_pods_total", "Number of pods added to scheduling queues by event and queue type.", "queue", "event"),
		incomingEntities: counterVec(metrics.ALPHA, "queue_incoming_entities_total", "Number of scheduling entities added to scheduling queues by event, queue type, and entity type.", "queue", "event", "type"),
		evaluations:      counterVec(metrics.BETA, "plugin_evaluation_total", "Number of attempts to schedule pods by each plugin and the extension point (available only in PreFilter, Filter, PreScore, and Score).", "plugin", "extension_point", "profile"),
		evictions:        counterVec(metrics.ALPHA, "preemption_goroutines_execution_total", "Number of preemption goroutines executed.", "result"),
		preemptions:      counter(metrics.STABLE, "preemption_attempts_total", "Total preemption attempts in the cluster till now"),
		flushed:          counter(metrics.ALPHA, "pod_scheduled_after_flush_total", "Number of pods that were scheduled after they had been flushed from the unschedulable ones because of their timeout."),
		attemptDuration:  histogramVec(metrics.STABLE, "scheduling_attempt_duration_seconds", "Scheduling attempt latency in seconds (scheduling algorithm + binding)", slow, "result", "profile"),
		sliDuration:      histogramVec(metrics.BETA, "pod_scheduling_sli_duration_seconds", "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.", metrics.ExponentialBuckets(0.01, 2, 20), "attempts"),
		points:           histogramVec(metrics.STABLE, "framework_extension_point_duration_seconds", "Latency for running all plugins of a specific extension point.", fast, "extension_point", "status", "profile"),
		plugins:          histogramVec(metrics.BETA, "plugin_execution_duration_seconds", "Duration for running a plugin at a specific extension point.", fine, "plugin", "extension_point", "status"),
		hints:            histogramVec(metrics.ALPHA, "queueing_hint_execution_duration_seconds", "Duration for running a queueing hint function of a plugin.", fine, "plugin", "event", "hint"),
		events:           histogramVec(metrics.ALPHA, "event_handling_duration_seconds", "Event handling latency in seconds.", fast, "event"),
		permitWait:       histogramVec(metrics.BETA, "permit_wait_duration_seconds", "Duration of waiting on permit.", slow, "result"),
		algorithm:        histogram(metrics.BETA, "scheduling_algorithm_duration_seconds", "Scheduling algorithm latency in seconds", slow),
		podAttempts:      histogram(metrics.STABLE, "pod_scheduling_attempts", "Number of attempts to successfully schedule a pod.", metrics.ExponentialBuckets(1, 2, 5)),
		victims:          histogram(metrics.STABLE, "preemption_victims", "Number of selected preemption victims for preemption initiated by a single pod", metrics.ExponentialBuckets(1, 2, 7)),
		goroutines: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "goroutines", Help: "Number of running goroutines split by the work they do such as binding.", StabilityLevel: metrics.BETA,
		}, []string{"operation"}),
		state: newStateCollector(s),
	}
}

func counter(level metrics.StabilityLevel, name, help string) *metrics.Counter {
	return metrics.NewCounter(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: level})
}

func counterVec(level metrics.StabilityLevel, name, help string, labels ...string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: level}, labels)
}

func histogramVec(level metrics.StabilityLevel, name, help string, buckets []float64, labels ...string) *metrics.HistogramVec {
	return metrics.NewHistogramVec(&metrics.HistogramOpts{Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: level}, labels)
}

func histogram(level metrics.StabilityLevel, name, help string, buckets []float64) *metrics.Histogram {
	return metrics.NewHistogram(&metrics.HistogramOpts{Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: level})
}

func (m *schedulerMetrics) register(registry Registry) error {
	m.registry = metrics.NewKubeRegistry()
	if registry == nil {
		registry = m.registry
	}
	for _, metric := range []metrics.Registerable{
		m.attempts, m.incomingPods, m.incomingEntities, m.evaluations, m.evictions, m.preemptions, m.flushed, m.attemptDuration, m.sliDuration,
		m.points, m.plugins, m.hints, m.events, m.permitWait, m.algorithm, m.podAttempts, m.victims, m.goroutines,
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

// sample picks what is timed in detail.
func (*schedulerMetrics) sample() bool { return rand.IntN(sampled) == 0 }

func (m *schedulerMetrics) incoming(queue, event string) {
	m.incomingPods.WithLabelValues(queue, event).Inc()
	m.incomingEntities.WithLabelValues(queue, event, "pod").Inc()
}

func (m *schedulerMetrics) hinted(plugin, event string, hint framework.QueueingHint, took time.Duration) {
	label := "QueueSkip"
	if hint == framework.Queue {
		label = "Queue"
	}
	m.hints.WithLabelValues(plugin, event, label).Observe(took.Seconds())
}

func (m *schedulerMetrics) handled(event string, took time.Duration) {
	m.events.WithLabelValues(event).Observe(took.Seconds())
}

// Attempted counts an attempt to preempt.
func (m *schedulerMetrics) Attempted() { m.preemptions.Inc() }

// Preempted notes how many pods a preemption evicts.
func (m *schedulerMetrics) Preempted(victims int) { m.victims.Observe(float64(victims)) }

// Evicted counts what became of a preemption's victims.
func (m *schedulerMetrics) Evicted(err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.evictions.WithLabelValues(result).Inc()
}

// Ran implements framework.Observer.
func (m *schedulerMetrics) Ran(profile, point string, code framework.Code, took time.Duration) {
	m.points.WithLabelValues(point, code.String(), profile).Observe(took.Seconds())
}

// RanPlugin implements framework.Observer.
func (m *schedulerMetrics) RanPlugin(plugin, point string, code framework.Code, took time.Duration) {
	m.plugins.WithLabelValues(plugin, point, code.String()).Observe(took.Seconds())
}

// Evaluations implements framework.Observer.
func (m *schedulerMetrics) Evaluations(profile, plugin, point string) func(calls int) {
	counted := m.evaluations.WithLabelValues(plugin, point, profile)
	return func(calls int) { counted.Add(float64(calls)) }
}

// Waited implements framework.Observer.
func (m *schedulerMetrics) Waited(code framework.Code, took time.Duration) {
	m.permitWait.WithLabelValues(code.String()).Observe(took.Seconds())
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
	if a.queued.Flushed {
		m.flushed.Inc()
	}
}

func (m *schedulerMetrics) failed(profile, reason string, took time.Duration) {
	result := "error"
	if reason == corev1.PodReasonUnschedulable {
		result = "unschedulable"
	}
	m.attempts.WithLabelValues(result, profile).Inc()
	m.attemptDuration.WithLabelValues(result, profile).Observe(took.Seconds())
}
