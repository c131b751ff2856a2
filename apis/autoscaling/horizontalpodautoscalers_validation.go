package autoscaling

import (
	"context"
	"fmt"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const (
	longestPeriod        = 1800
	longestStabilization = 3600
)

func validateHPA(_ context.Context, obj, old hpa) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateReference(s.ScaleTargetRef, at.Child("scaleTargetRef"))...)
	if old == nil || old.Spec.ScaleTargetRef.APIVersion != s.ScaleTargetRef.APIVersion {
		errs = append(errs, validateAPIVersion(s.ScaleTargetRef, at.Child("scaleTargetRef", "apiVersion"))...)
	}
	errs = append(errs, validateMetrics(s.Metrics, s.MinReplicas, at.Child("metrics"))...)
	if b := s.Behavior; b != nil {
		errs = append(errs, validateRules(b.ScaleUp, at.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateRules(b.ScaleDown, at.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func validateReference(r autoscalingv2.CrossVersionObjectReference, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateSegment(r.Kind, "", at.Child("kind"))...)
	return append(errs, validateSegment(r.Name, "", at.Child("name"))...)
}

// validateSegment checks a required text that becomes a part of a URL's path.
func validateSegment(value, missing string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, missing)}
	}
	return validate.All(at, value, path.ValidatePathSegmentName(value, false))
}

// validateAPIVersion demands the group of what is scaled: only replication
// controllers are in the core group.
func validateAPIVersion(r autoscalingv2.CrossVersionObjectReference, at *field.Path) field.ErrorList {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return field.ErrorList{field.Invalid(at, r.APIVersion, err.Error())}
	}
	if gv.Group == "" && r.Kind != "ReplicationController" {
		return field.ErrorList{field.Invalid(at, r.APIVersion, "apiVersion must specify API group")}
	}
	return nil
}

func validateMetrics(metrics []autoscalingv2.MetricSpec, least *int32, at *field.Path) (errs field.ErrorList) {
	fromZero := false
	for i := range metrics {
		m := &metrics[i]
		fromZero = fromZero || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
		errs = append(errs, validateMetric(m, at.Index(i))...)
	}
	if least != nil && *least == 0 && !fromZero {
		errs = append(errs, field.Forbidden(at, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	return errs
}

func validateMetric(m *autoscalingv2.MetricSpec, at *field.Path) (errs field.ErrorList) {
	kinds := []autoscalingv2.MetricSourceType{
		autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType, autoscalingv2.ObjectMetricSourceType,
		autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
	}
	if m.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric source type"))
	}
	errs = append(errs, validate.Enum(m.Type, at.Child("type"), kinds...)...)
	var present []string
	check := func(name string, there bool, source func(*field.Path) field.ErrorList) {
		if !there {
			return
		}
		if present = append(present, name); len(present) == 1 {
			errs = append(errs, source(at.Child(name))...)
		}
	}
	check("object", m.Object != nil, func(p *field.Path) field.ErrorList { return validateObject(m.Object, p) })
	check("external", m.External != nil, func(p *field.Path) field.ErrorList { return validateExternal(m.External, p) })
	check("pods", m.Pods != nil, func(p *field.Path) field.ErrorList { return validatePods(m.Pods, p) })
	check("resource", m.Resource != nil, func(p *field.Path) field.ErrorList {
		return append(validateResourceName(string(m.Resource.Name), p), validateUsage(&m.Resource.Target, p)...)
	})
	check("containerResource", m.ContainerResource != nil, func(p *field.Path) field.ErrorList { return validateContainer(m.ContainerResource, p) })
	if m.Type == "" || !slices.Contains(kinds, m.Type) {
		return errs
	}
	want := strings.ToLower(string(m.Type[:1])) + string(m.Type[1:])
	if !slices.Contains(present, want) {
		errs = append(errs, field.Required(at.Child(want), "must populate information for the given metric source"))
	}
	for _, name := range present {
		if len(present) > 1 && name != want {
			errs = append(errs, field.Forbidden(at.Child(name), "must populate the given metric source only"))
		}
	}
	return errs
}

func validateObject(m *autoscalingv2.ObjectMetricSource, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateReference(m.DescribedObject, at.Child("describedObject"))...)
	errs = append(errs, validateSegment(m.Metric.Name, "must specify a metric name", at.Child("metric", "name"))...)
	errs = append(errs, validateTarget(&m.Target, at.Child("target"))...)
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		errs = append(errs, field.Required(at.Child("target", "averageValue"), "must set either a target value or averageValue"))
	}
	return errs
}

func validateExternal(m *autoscalingv2.ExternalMetricSource, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateSegment(m.Metric.Name, "must specify a metric name", at.Child("metric", "name"))...)
	errs = append(errs, validateTarget(&m.Target, at.Child("target"))...)
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		errs = append(errs, field.Required(at.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
	}
	if m.Target.Value != nil && m.Target.AverageValue != nil {
		errs = append(errs, field.Forbidden(at.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
	}
	return errs
}

func validatePods(m *autoscalingv2.PodsMetricSource, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateSegment(m.Metric.Name, "must specify a metric name", at.Child("metric", "name"))...)
	errs = append(errs, validateTarget(&m.Target, at.Child("target"))...)
	if m.Target.AverageValue == nil {
		errs = append(errs, field.Required(at.Child("target", "averageValue"), "must specify a positive target averageValue"))
	}
	return errs
}

func validateContainer(m *autoscalingv2.ContainerResourceMetricSource, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateResourceName(string(m.Name), at)...)
	if m.Name != "" {
		errs = append(errs, validateContainerResource(string(m.Name), at.Child("name"))...)
	}
	if m.Container == "" {
		errs = append(errs, field.Required(at.Child("container"), "must specify a container"))
	} else {
		errs = append(errs, validate.DNSLabel(m.Container, at.Child("container"))...)
	}
	return append(errs, validateUsage(&m.Target, at)...)
}

// validateContainerResource checks the name of something containers ask for.
func validateContainerResource(name string, at *field.Path) field.ErrorList {
	errs := validate.QualifiedName(name, at)
	if strings.Contains(name, "/") || strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
		return errs
	}
	switch corev1.ResourceName(name) {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return errs
	}
	if len(errs) == 0 {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource type or fully qualified"))
	}
	return append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
}

func validateResourceName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at.Child("name"), "must specify a resource name")}
	}
	return nil
}

func validateUsage(t *autoscalingv2.MetricTarget, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateTarget(t, at.Child("target"))...)
	if t.AverageUtilization == nil && t.AverageValue == nil {
		errs = append(errs, field.Required(at.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization"))
	}
	if t.AverageUtilization != nil && t.AverageValue != nil {
		errs = append(errs, field.Forbidden(at.Child("target", "averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateTarget(t *autoscalingv2.MetricTarget, at *field.Path) (errs field.ErrorList) {
	if t.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric target type"))
	}
	if t.Type != autoscalingv2.UtilizationMetricType && t.Type != autoscalingv2.ValueMetricType && t.Type != autoscalingv2.AverageValueMetricType {
		errs = append(errs, field.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	positive := func(q *apiresource.Quantity, name string) {
		if q != nil && q.Sign() != 1 {
			errs = append(errs, field.Invalid(at.Child(name), q, "must be positive"))
		}
	}
	positive(t.Value, "value")
	positive(t.AverageValue, "averageValue")
	if u := t.AverageUtilization; u != nil && *u < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), *u, "must be greater than 0"))
	}
	return errs
}

func validateRules(r *autoscalingv2.HPAScalingRules, at *field.Path) (errs field.ErrorList) {
	if r == nil {
		return nil
	}
	window := at.Child("stabilizationWindowSeconds")
	if w := r.StabilizationWindowSeconds; w != nil && *w < 0 {
		errs = append(errs, field.Invalid(window, *w, "must be greater than or equal to zero"))
	}
	if w := r.StabilizationWindowSeconds; w != nil && *w > longestStabilization {
		errs = append(errs, field.Invalid(window, *w, fmt.Sprintf("must be less than or equal to %v", longestStabilization)))
	}
	if r.SelectPolicy != nil {
		errs = append(errs, validate.Enum(*r.SelectPolicy, at.Child("selectPolicy"), autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	}
	policies := at.Child("policies")
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(policies, "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		here := policies.Index(i)
		errs = append(errs, validate.Enum(p.Type, here.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(here.Child("value"), p.Value, "must be greater than zero"))
		}
		if p.PeriodSeconds <= 0 {
			errs = append(errs, field.Invalid(here.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
		}
		if p.PeriodSeconds > longestPeriod {
			errs = append(errs, field.Invalid(here.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", longestPeriod)))
		}
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("tolerance"), r.Tolerance.String(), validation.IsNegativeErrorMsg))
	}
	return errs
}

func validateHPAStatus(obj, old hpa) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at := field.NewPath("status")
	errs = append(errs, validate.NonNegative(obj.Status.CurrentReplicas, at.Child("currentReplicas"))...)
	return append(errs, validate.NonNegative(obj.Status.DesiredReplicas, at.Child("desiredReplicas"))...)
}
