package autoscaling

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
)

type hpa = *autoscalingv2.HorizontalPodAutoscaler

// defaultUtilization of the CPU is aimed at where nothing else is.
const defaultUtilization = 80

func horizontalPodAutoscalers() resource.Definition[hpa] {
	return resource.Definition[hpa]{
		Resource:   autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"),
		Kind:       "HorizontalPodAutoscaler",
		Singular:   "horizontalpodautoscaler",
		ShortNames: []string{"hpa"},
		Categories: []string{"all"},
		Object:     &autoscalingv2.HorizontalPodAutoscaler{},
		List:       &autoscalingv2.HorizontalPodAutoscalerList{},
		Versions: []resource.Version{resource.WithDefault(
			resource.NewVersion(autoscalingv1.SchemeGroupVersion, &autoscalingv1.HorizontalPodAutoscalerList{}, fromV1, toV1),
			func(a *autoscalingv1.HorizontalPodAutoscaler) { setTo(&a.Spec.MinReplicas, 1) },
		)},
		Register: register,
		Gates:    map[string]bool{"HPAScaleToZero": true},
		Name:     validation.NameIsDNSSubdomain,
		NameOnce: true,
		Default:  defaultHPA,
		Prepare:  func(_ context.Context, obj, _ hpa) { dropAnnotations(obj.Annotations) },
		Validate: validateHPA,
		Spec:     func(a hpa) any { return &a.Spec },
		Status:   func(a hpa) any { return &a.Status },
		ValidateStatus: func(_ context.Context, obj, old hpa) field.ErrorList {
			return validateHPAStatus(obj, old)
		},
		Columns: hpaColumns(),
	}
}

func defaultHPA(a hpa) {
	setTo(&a.Spec.MinReplicas, 1)
	if len(a.Spec.Metrics) == 0 {
		a.Spec.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultUtilization)}
	}
	defaultBehavior(a.Spec.Behavior)
}

func cpuMetric(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name:   corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

// defaultBehavior completes both directions once either is said anything about:
// up at most twofold or by four pods in 15 s, down at once.
func defaultBehavior(b *autoscalingv2.HorizontalPodAutoscalerBehavior) {
	if b == nil {
		return
	}
	pods := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}
	percent := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}
	setTo(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
	setTo(&b.ScaleUp.StabilizationWindowSeconds, 0)
	defaultRules(b.ScaleUp, pods, percent)
	setTo(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
	defaultRules(b.ScaleDown, percent)
}

func defaultRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	setTo(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}

func hpaColumns() []resource.Column[hpa] {
	spec, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return []resource.Column[hpa]{
		{Name: "Reference", Type: "string", Help: spec["scaleTargetRef"], Value: func(a hpa) any { return a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name }},
		{Name: "Targets", Type: "string", Help: spec["metrics"], Value: func(a hpa) any { return targetsOf(a) }},
		{Name: "MinPods", Type: "string", Help: spec["minReplicas"], Value: func(a hpa) any {
			if a.Spec.MinReplicas == nil {
				return "<unset>"
			}
			return strconv.Itoa(int(*a.Spec.MinReplicas))
		}},
		{Name: "MaxPods", Type: "string", Help: spec["maxReplicas"], Value: func(a hpa) any { return int64(a.Spec.MaxReplicas) }},
		{Name: "Replicas", Type: "string", Help: status["currentReplicas"], Value: func(a hpa) any { return int64(a.Status.CurrentReplicas) }},
	}
}

func targetsOf(a hpa) string {
	const shown = 2
	if len(a.Spec.Metrics) == 0 {
		return "<none>"
	}
	var list []string
	for i := range a.Spec.Metrics {
		var status autoscalingv2.MetricStatus
		if i < len(a.Status.CurrentMetrics) {
			status = a.Status.CurrentMetrics[i]
		}
		list = append(list, targetOf(&a.Spec.Metrics[i], &status))
	}
	if len(list) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ", "), len(list)-shown)
	}
	return strings.Join(list, ", ")
}

func targetOf(m *autoscalingv2.MetricSpec, s *autoscalingv2.MetricStatus) string {
	var current autoscalingv2.MetricValueStatus
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		if s.External != nil {
			current = s.External.Current
		}
		return valueOf(&m.External.Target, &current)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		if s.Object != nil {
			current = s.Object.Current
		}
		return valueOf(&m.Object.Target, &current)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		if s.Pods != nil {
			current = s.Pods.Current
		}
		return quantityOf(current.AverageValue) + "/" + quantityOf(m.Pods.Target.AverageValue)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		if s.Resource != nil {
			current = s.Resource.Current
		}
		return usageOf(m.Resource.Name, &m.Resource.Target, &current)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		if s.ContainerResource != nil {
			current = s.ContainerResource.Current
		}
		return usageOf(m.ContainerResource.Name, &m.ContainerResource.Target, &current)
	}
	return "<unknown type>"
}

func quantityOf(q *apiresource.Quantity) string {
	if q == nil {
		return "<unknown>"
	}
	return q.String()
}

func valueOf(t *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return quantityOf(current.AverageValue) + "/" + t.AverageValue.String() + " (avg)"
	}
	return quantityOf(current.Value) + "/" + quantityOf(t.Value)
}

func usageOf(name corev1.ResourceName, t *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return fmt.Sprintf("%s: %s/%s", name, quantityOf(current.AverageValue), t.AverageValue)
	}
	have, want := "<unknown>", "<auto>"
	if current.AverageUtilization != nil {
		have = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if t.AverageUtilization != nil {
		want = fmt.Sprintf("%d%%", *t.AverageUtilization)
	}
	return fmt.Sprintf("%s: %s/%s", name, have, want)
}
