package autoscaling

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"skiff/apis/validate"
)

// In v1 everything but one target for the CPU travels in annotations.
const (
	metricsAnnotation    = "autoscaling.alpha.kubernetes.io/metrics"
	statusesAnnotation   = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation   = "autoscaling.alpha.kubernetes.io/behavior"
)

// dropAnnotations removes what only the conversion may say.
func dropAnnotations(annotations map[string]string) {
	for _, name := range []string{metricsAnnotation, statusesAnnotation, conditionsAnnotation, behaviorAnnotation} {
		delete(annotations, name)
	}
}

// read decodes an annotation; what can't be read is as if it were not there.
func read[V any](annotations map[string]string, name string) (out V, ok bool) {
	text, found := annotations[name]
	if !found || json.Unmarshal([]byte(text), &out) != nil {
		return *new(V), false
	}
	return out, true
}

func fromV1(in *autoscalingv1.HorizontalPodAutoscaler, out hpa) error {
	out.ObjectMeta = in.ObjectMeta
	s, status := &out.Spec, &out.Status
	s.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference(in.Spec.ScaleTargetRef)
	s.MinReplicas, s.MaxReplicas = in.Spec.MinReplicas, in.Spec.MaxReplicas
	status.ObservedGeneration, status.LastScaleTime = in.Status.ObservedGeneration, in.Status.LastScaleTime
	status.CurrentReplicas, status.DesiredReplicas = in.Status.CurrentReplicas, in.Status.DesiredReplicas
	if metrics, ok := read[[]autoscalingv1.MetricSpec](in.Annotations, metricsAnnotation); ok {
		for i := range metrics {
			s.Metrics = append(s.Metrics, metricFromV1(&metrics[i]))
		}
	}
	if p := in.Spec.TargetCPUUtilizationPercentage; p != nil {
		s.Metrics = append(s.Metrics, cpuMetric(*p))
	}
	if len(s.Metrics) == 0 {
		s.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultUtilization)}
	}
	if behavior, ok := read[autoscalingv2.HorizontalPodAutoscalerBehavior](in.Annotations, behaviorAnnotation); ok && behavior != (autoscalingv2.HorizontalPodAutoscalerBehavior{}) {
		s.Behavior = &behavior
	}
	if p := in.Status.CurrentCPUUtilizationPercentage; p != nil {
		status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
			Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: p},
		}}}
	}
	if statuses, ok := read[[]autoscalingv1.MetricStatus](in.Annotations, statusesAnnotation); ok {
		status.CurrentMetrics = nil
		for i := range statuses {
			status.CurrentMetrics = append(status.CurrentMetrics, statusFromV1(&statuses[i]))
		}
	}
	if conditions, ok := read[[]autoscalingv1.HorizontalPodAutoscalerCondition](in.Annotations, conditionsAnnotation); ok {
		for _, c := range conditions {
			status.Conditions = append(status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
				Type: autoscalingv2.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status,
				LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
			})
		}
	}
	out.Annotations = maps.Clone(in.Annotations)
	dropAnnotations(out.Annotations)
	return nil
}

func toV1(in hpa, out *autoscalingv1.HorizontalPodAutoscaler) error {
	out.ObjectMeta = in.ObjectMeta
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
		MinReplicas:    in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
	}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: in.Status.ObservedGeneration, LastScaleTime: in.Status.LastScaleTime,
		CurrentReplicas: in.Status.CurrentReplicas, DesiredReplicas: in.Status.DesiredReplicas,
	}
	var others []autoscalingv1.MetricSpec
	for i := range in.Spec.Metrics {
		m := &in.Spec.Metrics[i]
		if r := m.Resource; m.Type == autoscalingv2.ResourceMetricSourceType && r != nil && r.Name == corev1.ResourceCPU && r.Target.AverageUtilization != nil {
			setTo(&out.Spec.TargetCPUUtilizationPercentage, *r.Target.AverageUtilization)
			continue
		}
		others = append(others, metricToV1(m))
	}
	var statuses []autoscalingv1.MetricStatus
	for i := range in.Status.CurrentMetrics {
		m := &in.Status.CurrentMetrics[i]
		if r := m.Resource; m.Type == autoscalingv2.ResourceMetricSourceType && r != nil && r.Name == corev1.ResourceCPU && r.Current.AverageUtilization != nil {
			setTo(&out.Status.CurrentCPUUtilizationPercentage, *r.Current.AverageUtilization)
		}
		statuses = append(statuses, statusToV1(m))
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	for _, c := range in.Status.Conditions {
		conditions = append(conditions, autoscalingv1.HorizontalPodAutoscalerCondition{
			Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	for _, a := range []struct {
		name  string
		there bool
		value any
	}{
		{metricsAnnotation, len(others) > 0, others},
		{statusesAnnotation, len(statuses) > 0, statuses},
		{conditionsAnnotation, len(conditions) > 0, conditions},
		{behaviorAnnotation, in.Spec.Behavior != nil, validate.GoNames{Value: in.Spec.Behavior}},
	} {
		if !a.there {
			continue
		}
		text, err := json.Marshal(a.value)
		if err != nil {
			return fmt.Errorf("writing annotation %s: %w", a.name, err)
		}
		if out.Annotations = maps.Clone(out.Annotations); out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[a.name] = string(text)
	}
	return nil
}
