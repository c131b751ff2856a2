package autoscaling

import (
	"context"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

func quantity(t *rapid.T) *apiresource.Quantity {
	return apiresource.NewQuantity(rapid.Int64Range(1, 1000).Draw(t, "quantity"), apiresource.DecimalSI)
}

// drawMetric draws a metric that v1 can express.
func drawMetric(t *rapid.T) autoscalingv2.MetricSpec {
	name := rapid.StringMatching("[a-z]{1,8}").Draw(t, "name")
	identifier := autoscalingv2.MetricIdentifier{Name: name}
	average := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: quantity(t)}
	value := autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: quantity(t)}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Service", Name: name}, Metric: identifier, Target: value,
		}}
	case 1:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: identifier, Target: average}}
	case 2:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceMemory, Target: average}}
	case 3:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: corev1.ResourceMemory, Container: name, Target: average}}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: identifier, Target: value}}
}

// What is said in v2 survives a visit to v1 and back.
func TestConversionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &autoscalingv2.HorizontalPodAutoscaler{}
		in.Name = "web"
		in.Spec.MaxReplicas = rapid.Int32Range(1, 100).Draw(t, "max")
		in.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
		in.Spec.Metrics = rapid.SliceOfN(rapid.Custom(drawMetric), 0, 3).Draw(t, "metrics")
		if rapid.Bool().Draw(t, "cpu") || len(in.Spec.Metrics) == 0 {
			in.Spec.Metrics = append(in.Spec.Metrics, cpuMetric(rapid.Int32Range(1, 100).Draw(t, "percent")))
		}
		if rapid.Bool().Draw(t, "behavior") {
			in.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
		}
		defaultHPA(in)
		var v1 autoscalingv1.HorizontalPodAutoscaler
		if err := toV1(in.DeepCopy(), &v1); err != nil {
			t.Fatal(err)
		}
		out := &autoscalingv2.HorizontalPodAutoscaler{}
		if err := fromV1(&v1, out); err != nil {
			t.Fatal(err)
		}
		if len(out.Annotations) == 0 {
			out.Annotations = nil
		}
		if !equality.Semantic.DeepEqual(in, out) {
			t.Fatalf("changed on the way:\n%+v\n%+v", in.Spec, out.Spec)
		}
	})
}

func TestUnreadableAnnotationIsIgnored(t *testing.T) {
	in := &autoscalingv1.HorizontalPodAutoscaler{}
	in.Annotations = map[string]string{metricsAnnotation: "{", "kept": "yes"}
	out := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := fromV1(in, out); err != nil {
		t.Fatal(err)
	}
	if len(out.Spec.Metrics) != 1 || out.Annotations["kept"] != "yes" || len(out.Annotations) != 1 {
		t.Fatalf("got metrics %v, annotations %v", out.Spec.Metrics, out.Annotations)
	}
}

func TestValidate(t *testing.T) {
	valid := func() *autoscalingv2.HorizontalPodAutoscaler {
		a := &autoscalingv2.HorizontalPodAutoscaler{}
		a.Spec.MaxReplicas = 3
		a.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
		defaultHPA(a)
		return a
	}
	zero := int32(0)
	for name, c := range map[string]struct {
		change func(*autoscalingv2.HorizontalPodAutoscaler)
		want   string
	}{
		"valid":       {func(*autoscalingv2.HorizontalPodAutoscaler) {}, ""},
		"below min":   {func(a *autoscalingv2.HorizontalPodAutoscaler) { a.Spec.MaxReplicas = 0 }, "`minReplicas`"},
		"core group":  {func(a *autoscalingv2.HorizontalPodAutoscaler) { a.Spec.ScaleTargetRef.APIVersion = "v1" }, "apiVersion must specify API group"},
		"zero on cpu": {func(a *autoscalingv2.HorizontalPodAutoscaler) { a.Spec.MinReplicas = &zero }, "at least one Object or External metric"},
		"no source":   {func(a *autoscalingv2.HorizontalPodAutoscaler) { a.Spec.Metrics[0].Resource = nil }, "must populate information"},
	} {
		t.Run(name, func(t *testing.T) {
			a := valid()
			c.change(a)
			errs := validateHPA(context.Background(), a, nil)
			if got := errs.ToAggregate(); (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
				t.Fatalf("got %v, want %q", got, c.want)
			}
		})
	}
}
