package horizontalpodautoscaler

import (
	"fmt"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Snapshot is what a plan is made from.
type Snapshot struct {
	Autoscaler *autoscalingv2.HorizontalPodAutoscaler
	// Scale is the target's.
	Scale *autoscalingv1.Scale
	// Selection is what is wrong with the target's selector, nil for nothing. It, Pods and Readings are needed only
	// where Measured says so.
	Selection *Refusal
	// Pods are those that the target's selector selects.
	Pods []*corev1.Pod
	// Readings are those of spec.metrics, in their order.
	Readings []Reading
	History  History
	// Tolerance is for autoscalers that set none, Window how long the highest recommendation holds where
	// spec.behavior sets nothing.
	Tolerance float64
	Window    time.Duration
	Patience  Patience
	Now       time.Time
}

// Refusal is why the pods of a target cannot be told: the reason of its event, its message, and the reason and message
// of the condition.
type Refusal struct {
	Event     string
	Err       error
	Condition told
}

// Plan is what is to be done.
type Plan struct {
	// Replicas is the number of pods that the target should have; Rescale tells whether that is to be written.
	Replicas int32
	Rescale  bool
	// Scaled tells that it was written, Failed that nothing could be decided or done.
	Scaled, Failed bool
	// Why is the reason of a rescale, as its event tells it.
	Why     string
	Status  autoscalingv2.HorizontalPodAutoscalerStatus
	Events  []Event
	History History
	// Computed are the proposals by metric, for the counts.
	Computed []Computed
	// Err is what went wrong; a plan may rescale all the same, by the metrics that could be read.
	Err error
}

// Event is one to record.
type Event struct{ Type, Reason, Message string }

// Computed is how one metric went: what it proposed, or the error.
type Computed struct {
	Type     autoscalingv2.MetricSourceType
	Replicas int32
	Err      error
}

// failed is the number that no metric proposed.
const failed = -1

// minimum answers spec.minReplicas, 1 without one.
func minimum(a *autoscalingv2.HorizontalPodAutoscaler) int32 { return ptr.Deref(a.Spec.MinReplicas, 1) }

// Measured answers whether metrics decide: not where the number of pods is out of bounds, nor where somebody else set
// it to zero.
func Measured(a *autoscalingv2.HorizontalPodAutoscaler, current int32) bool {
	if current == 0 {
		return scaledToZero(a) && (minimum(a) != 0 || outside(a))
	}
	return current <= a.Spec.MaxReplicas && current >= minimum(a)
}

// outside answers whether a metric does not come from the pods, so that it tells something without any.
func outside(a *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(a.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// Decide plans a round. Its status stands if nothing is to be rescaled; else Rescaled completes it.
func Decide(s Snapshot) Plan {
	a, current := s.Autoscaler, s.Scale.Spec.Replicas
	p := Plan{Status: *a.Status.DeepCopy(), History: s.History.begun(current, s.Now), Replicas: current}
	p.set(s.Now, autoscalingv2.AbleToScale, corev1.ConditionTrue, told{"SucceededGetScale", "the HPA controller was able to get the target's current scale"})
	var statuses []autoscalingv2.MetricStatus
	switch {
	case Measured(a, current):
		wanted, name, read, err := p.measure(s)
		statuses, p.Err = read, err
		if wanted == failed {
			p.finish(a, current, a.Status.DesiredReplicas, statuses)
			p.warn("FailedComputeMetricsReplicas", err.Error())
			p.Failed = true
			p.Err = fmt.Errorf("failed to compute desired number of replicas based on listed metrics for %s: %w", Reference(a), err)
			return p
		}
		p.limit(s, max(wanted, 0), name)
	case current == 0:
		p.set(s.Now, autoscalingv2.ScalingActive, corev1.ConditionFalse, told{"ScalingDisabled", "scaling is disabled since the replica count of the target is zero"})
	case current > a.Spec.MaxReplicas:
		p.Replicas, p.Why, p.Rescale = a.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas", true
	default:
		p.Replicas, p.Why, p.Rescale = minimum(a), belowMinimum, true
	}
	p.finish(a, current, p.Replicas, statuses)
	return p
}

const belowMinimum = "Current number of replicas below Spec.MinReplicas"

// limit holds what the metrics want within the spec's limits.
func (p *Plan) limit(s Snapshot, wanted int32, name string) {
	a, current := s.Autoscaler, s.Scale.Spec.Replicas
	switch {
	case wanted > current:
		p.Why = name + " above target"
	case wanted < current:
		p.Why = "All metrics below target"
	}
	b := bounds{Min: minimum(a), Max: a.Spec.MaxReplicas, Current: current, Behavior: a.Spec.Behavior, Window: s.Window, Now: s.Now}
	l := b.apply(p.History, wanted)
	p.History, p.Replicas = l.history, l.replicas
	p.set(s.Now, autoscalingv2.AbleToScale, corev1.ConditionTrue, l.able)
	p.set(s.Now, autoscalingv2.ScalingLimited, statusOf(l.bounded), l.limit)
	if current == 0 && p.Replicas < b.Min { // the minimum was raised while the target was at zero
		p.Replicas = b.Min
		if p.Why == "" {
			p.Why = belowMinimum
		}
	}
	p.Rescale = p.Replicas != current
}

// measure takes the highest proposal. Metrics that cannot be read stop the target from shrinking: they might have
// wanted more.
func (p *Plan) measure(s Snapshot) (replicas int32, name string, statuses []autoscalingv2.MetricStatus, err error) {
	a := s.Autoscaler
	if r := s.Selection; r != nil {
		if r.Event != "" {
			p.warn(r.Event, r.Err.Error())
			p.set(s.Now, autoscalingv2.ScalingActive, corev1.ConditionFalse, r.Condition)
		}
		return failed, "", nil, r.Err
	}
	u := usage{
		Replicas: s.Scale.Spec.Replicas, Status: s.Scale.Status.Replicas, Tolerance: tolerance(a, s.Tolerance),
		Pods: s.Pods, Patience: s.Patience, Now: s.Now,
	}
	statuses = make([]autoscalingv2.MetricStatus, len(a.Spec.Metrics))
	var first *failure
	invalid := 0
	for i := range a.Spec.Metrics {
		spec := &a.Spec.Metrics[i]
		proposed, f := propose(spec, s.Readings[i], a.Namespace, u)
		if f != nil {
			p.warn(f.reason, f.cause.Error())
			p.Computed = append(p.Computed, Computed{spec.Type, 0, f.err})
			if invalid++; first == nil {
				first = f
			}
			continue
		}
		p.Computed = append(p.Computed, Computed{spec.Type, proposed.replicas, nil})
		statuses[i] = proposed.status
		if replicas == 0 || proposed.replicas > replicas {
			replicas, name = proposed.replicas, proposed.name
		}
	}
	if first != nil {
		err = fmt.Errorf("invalid metrics (%v invalid out of %v), first error is: %w", invalid, len(a.Spec.Metrics), first.err)
	}
	if invalid >= len(a.Spec.Metrics) || (invalid > 0 && replicas < u.Replicas) {
		if first != nil {
			p.set(s.Now, autoscalingv2.ScalingActive, corev1.ConditionFalse, told{first.reason, fmt.Sprintf("the HPA was unable to compute the replica count: %v", first.cause)})
		}
		return failed, "", statuses, err
	}
	p.set(s.Now, autoscalingv2.ScalingActive, corev1.ConditionTrue, told{"ValidMetricFound", "the HPA was able to successfully calculate a replica count from " + name})
	return replicas, name, statuses, err
}

// tolerance answers the autoscaler's tolerance, in each direction its own or the given one (KEP-4951).
func tolerance(a *autoscalingv2.HorizontalPodAutoscaler, otherwise float64) Tolerance {
	t := Tolerance{otherwise, otherwise}
	if b := a.Spec.Behavior; b != nil {
		if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
			t.Down = b.ScaleDown.Tolerance.AsApproximateFloat64()
		}
		if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
			t.Up = b.ScaleUp.Tolerance.AsApproximateFloat64()
		}
	}
	return t
}

// Rescaled completes a plan after the target was to be changed, with how that went.
func Rescaled(s Snapshot, p Plan, err error) Plan {
	a, current := s.Autoscaler, s.Scale.Spec.Replicas
	if err != nil {
		p.warn("FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", p.Replicas, p.Why, err))
		p.set(s.Now, autoscalingv2.AbleToScale, corev1.ConditionFalse, told{"FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err)})
		p.finish(a, current, a.Status.DesiredReplicas, p.Status.CurrentMetrics)
		p.Err, p.Failed = fmt.Errorf("failed to rescale %s: %w", Reference(a), err), true
		return p
	}
	p.set(s.Now, autoscalingv2.AbleToScale, corev1.ConditionTrue, told{"SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", p.Replicas)})
	p.Events = append(p.Events, Event{corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", p.Replicas, p.Why)})
	p.History = p.History.scaled(a.Spec.Behavior, current, p.Replicas, s.Now)
	if current > 0 && p.Replicas == 0 && minimum(a) == 0 && outside(a) {
		p.set(s.Now, autoscalingv2.ScaledToZero, corev1.ConditionTrue, told{"ScaledToZero", "the HPA controller scaled the workload to zero"})
	} else {
		p.set(s.Now, autoscalingv2.ScaledToZero, corev1.ConditionFalse, told{"NotScaledToZero", "the HPA controller did not scale the workload to zero"})
	}
	p.Status.LastScaleTime, p.Scaled = ptr.To(metav1.NewTime(s.Now)), true
	return p
}

// Unscalable plans a round in which the target's scale could not be read.
func Unscalable(a *autoscalingv2.HorizontalPodAutoscaler, cause error, now time.Time) Plan {
	p := Plan{Status: *a.Status.DeepCopy(), Failed: true}
	p.warn("FailedGetScale", cause.Error())
	p.set(now, autoscalingv2.AbleToScale, corev1.ConditionFalse, told{"FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", cause)})
	return p
}

// Reference names the target, for people.
func Reference(a *autoscalingv2.HorizontalPodAutoscaler) string {
	return fmt.Sprintf("%s/%s/%s", a.Spec.ScaleTargetRef.Kind, a.Namespace, a.Spec.ScaleTargetRef.Name)
}

func (p *Plan) warn(reason, message string) {
	p.Events = append(p.Events, Event{corev1.EventTypeWarning, reason, message})
}

// finish fills in the status beside its conditions.
func (p *Plan) finish(a *autoscalingv2.HorizontalPodAutoscaler, current, desired int32, metrics []autoscalingv2.MetricStatus) {
	p.Status.CurrentReplicas, p.Status.DesiredReplicas = current, desired
	p.Status.CurrentMetrics, p.Status.ObservedGeneration = metrics, ptr.To(a.Generation)
}
