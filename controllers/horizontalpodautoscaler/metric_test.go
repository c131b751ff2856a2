package horizontalpodautoscaler

import (
	"errors"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
)

func object(kind autoscalingv2.MetricTargetType, value string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
		DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Ingress", Name: "front", APIVersion: "networking.k8s.io/v1"},
		Metric:          autoscalingv2.MetricIdentifier{Name: "hits"}, Target: goal(kind, value),
	}}
}

func ofPods(value string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "qps"}, Target: goal(autoscalingv2.AverageValueMetricType, value),
	}}
}

func average(name corev1.ResourceName, value string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: name, Target: goal(autoscalingv2.AverageValueMetricType, value)}}
}

func container(name string, target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: corev1.ResourceCPU, Container: name, Target: target}}
}

func TestPropose(t *testing.T) {
	value := func(q string) autoscalingv2.MetricValueStatus {
		return autoscalingv2.MetricValueStatus{Value: new(resource.MustParse(q))}
	}
	each := func(q string) autoscalingv2.MetricValueStatus {
		return autoscalingv2.MetricValueStatus{AverageValue: new(resource.MustParse(q))}
	}
	percent := func(p int32, q string) autoscalingv2.MetricValueStatus {
		return autoscalingv2.MetricValueStatus{AverageUtilization: &p, AverageValue: new(resource.MustParse(q))}
	}
	const v, av = autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType
	tests := []struct {
		spec     autoscalingv2.MetricSpec
		pods     string
		values   []int64
		replicas int32
		name     string
		current  autoscalingv2.MetricValueStatus
	}{
		{cpu(30), "300 500 700", nil, 5, "cpu resource utilization (percentage of request)", percent(50, "500m")},
		{average(corev1.ResourceCPU, "300m"), "300 500 700", nil, 5, "cpu resource", each("500m")},
		{average(corev1.ResourceMemory, "1Mi"), "2097152000 2097152000 2097152000", nil, 6, "memory resource", each("2Mi")},
		{container("app", cpu(30).Resource.Target), "300 500 700", nil, 5, "cpu container resource utilization (percentage of request)", percent(50, "500m")},
		{container("app", goal(av, "300m")), "300 500 700", nil, 5, "cpu resource", each("500m")},
		{ofPods("15"), "20000 10000 30000", nil, 4, "pods metric qps", each("20")},
		{object(v, "15"), "1 1 1", []int64{20000}, 4, "Ingress metric hits", value("20")},
		{object(av, "5"), "1 1 1", []int64{20000}, 4, "external metric hits(nil)", each("6667m")},
		{external(v, "15"), "1 1 1", []int64{15000, 5000}, 4, "external metric orders(nil)", value("20")},
		{external(av, "5"), "1 1 1", []int64{15000, 5000}, 4, "external metric orders(nil)", each("6667m")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pods, samples := read(t, tt.pods)
			p, f := propose(&tt.spec, Reading{Pods: samples, Values: tt.values}, "shop", usageOf(pods, 3, Tolerance{0.1, 0.1}))
			if f != nil {
				t.Fatalf("failed: %+v", f)
			}
			if p.replicas != tt.replicas || p.name != tt.name || p.status.Type != tt.spec.Type {
				t.Errorf("proposal %+v", p)
			}
			if got := currentOf(p.status); !equality.Semantic.DeepEqual(got, tt.current) {
				t.Errorf("current %+v", got)
			}
		})
	}
	if q := quantity(corev1.ResourceMemory, 2097152000); q.String() != "2Mi" {
		t.Errorf("memory is written %s", q)
	}
}

func currentOf(s autoscalingv2.MetricStatus) autoscalingv2.MetricValueStatus {
	switch {
	case s.Resource != nil:
		return s.Resource.Current
	case s.ContainerResource != nil:
		return s.ContainerResource.Current
	case s.Pods != nil:
		return s.Pods.Current
	case s.Object != nil:
		return s.Object.Current
	default:
		return s.External.Current
	}
}

func TestProposeFails(t *testing.T) {
	const v, av = autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType
	gone, selector := errors.New("gone"), selectorError{errors.New("bad selector")}
	none := autoscalingv2.MetricTarget{}
	without := func(m autoscalingv2.MetricSpec) autoscalingv2.MetricSpec {
		switch {
		case m.Object != nil:
			m.Object.Target = none
		case m.External != nil:
			m.External.Target = none
		default:
			m.Resource.Target = none
		}
		return m
	}
	const noTarget = "neither a value target nor an average value target was set"
	tests := []struct {
		name               string
		spec               autoscalingv2.MetricSpec
		err                error
		reason, cause, all string
	}{
		{"utilization", cpu(30), gone, "FailedGetResourceMetric", "failed to get cpu utilization: unable to get metrics for resource cpu: gone", "failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: gone"},
		{"usage", average(corev1.ResourceMemory, "1Mi"), gone, "FailedGetResourceMetric", "failed to get memory usage: unable to get metrics for resource memory: gone", "failed to get memory resource metric value: failed to get memory usage: unable to get metrics for resource memory: gone"},
		{"no pods", cpu(30), nil, "FailedGetResourceMetric", "failed to get cpu utilization: no pods returned by selector while calculating replica count", "failed to get cpu resource metric value: failed to get cpu utilization: no pods returned by selector while calculating replica count"},
		{"no target", without(cpu(30)), nil, "FailedGetResourceMetric", "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set", "failed to get cpu resource metric value: invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"},
		{"container", container("app", cpu(30).Resource.Target), gone, "FailedGetContainerResourceMetric", "failed to get cpu utilization: unable to get metrics for resource cpu: gone", "failed to get app container metric value: failed to get cpu utilization: unable to get metrics for resource cpu: gone"},
		{"pods", ofPods("1"), gone, "FailedGetPodsMetric", "unable to get metric qps: gone", "failed to get pods metric value: unable to get metric qps: gone"},
		{"pods' selector", ofPods("1"), selector, "FailedGetPodsMetric", "bad selector", "failed to get pods metric value: bad selector"},
		{"no pods of a metric", ofPods("1"), nil, "FailedGetPodsMetric", "no pods returned by selector while calculating replica count", "failed to get pods metric value: no pods returned by selector while calculating replica count"},
		{"object", object(v, "1"), gone, "FailedGetObjectMetric", "unable to get metric hits on Ingress shop/front: gone", "failed to get object metric value: unable to get metric hits on Ingress shop/front: gone"},
		{"object shared out", object(av, "1"), gone, "FailedGetObjectMetric", "unable to get metric hits on Ingress shop/front: gone", "failed to get object metric value: failed to get hits object metric: unable to get metric hits on Ingress shop/front: gone"},
		{"object's selector", object(av, "1"), selector, "FailedGetObjectMetric", "bad selector", "failed to get object metric value: bad selector"},
		{"object without target", without(object(v, "1")), nil, "FailedGetObjectMetric", "invalid object metric source: " + noTarget, "failed to get object metric value: invalid object metric source: " + noTarget},
		{"external", external(v, "1"), gone, "FailedGetExternalMetric", "unable to get external metric shop/orders/nil: gone", "failed to get orders external metric value: failed to get external metric orders: unable to get external metric shop/orders/nil: gone"},
		{"external shared out", external(av, "1"), gone, "FailedGetExternalMetric", "unable to get external metric shop/orders/nil: gone", "failed to get orders external metric value: failed to get orders external metric: unable to get external metric shop/orders/nil: gone"},
		{"external without target", without(external(v, "1")), nil, "FailedGetExternalMetric", "invalid external metric source: " + noTarget, "failed to get orders external metric value: invalid external metric source: " + noTarget},
		{"unknown", autoscalingv2.MetricSpec{Type: "Weather"}, nil, "InvalidMetricSourceType", `unknown metric source type "Weather"`, `unknown metric source type "Weather"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, f := propose(&tt.spec, Reading{Pods: Samples{"0": {}}, Values: []int64{1}, Err: tt.err}, "shop", usageOf(nil, 3, Tolerance{0.1, 0.1}))
			if f == nil || f.reason != tt.reason || text(f.cause) != tt.cause || text(f.err) != tt.all {
				t.Errorf("got %+v", f)
			}
			if got := blame(f.err); (got == spec) != (tt.name == "unknown") {
				t.Errorf("blamed on %s", got)
			}
		})
	}
}
