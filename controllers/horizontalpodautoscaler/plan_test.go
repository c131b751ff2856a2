package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/controllers/internal/controller"
)

func cpu(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

func external(kind autoscalingv2.MetricTargetType, value string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "orders"}, Target: goal(kind, value),
	}}
}

func goal(kind autoscalingv2.MetricTargetType, value string) autoscalingv2.MetricTarget {
	q := new(resource.MustParse(value))
	if kind == autoscalingv2.ValueMetricType {
		return autoscalingv2.MetricTarget{Type: kind, Value: q}
	}
	return autoscalingv2.MetricTarget{Type: kind, AverageValue: q}
}

func toZero(status corev1.ConditionStatus) autoscalingv2.HorizontalPodAutoscalerCondition {
	return autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScaledToZero, Status: status}
}

// round is a snapshot of a target with that many pods, read as replicas_test.go says.
func round(t *testing.T, current int32, line string, least *int32, most int32, metrics ...autoscalingv2.MetricSpec) Snapshot {
	t.Helper()
	pods, samples := read(t, line)
	s := Snapshot{
		Autoscaler: &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Generation: 7},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web"}, MinReplicas: least, MaxReplicas: most, Metrics: metrics,
			},
			Status: autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: current, DesiredReplicas: 99},
		},
		Scale: &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: current}, Status: autoscalingv1.ScaleStatus{Replicas: current}},
		Pods:  pods, Tolerance: 0.1, Window: 5 * time.Minute, Patience: patience, Now: epoch(),
	}
	for range metrics {
		s.Readings = append(s.Readings, Reading{Pods: samples, Values: []int64{0}})
	}
	return s
}

// reasons are the conditions, each as type=status and reason.
func reasons(p Plan) string {
	var all []string
	for _, c := range p.Status.Conditions {
		all = append(all, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(all, ", ")
}

func TestDecide(t *testing.T) {
	zero, two, six := int32(0), int32(2), int32(6)
	const active, idle = "AbleToScale=True ReadyForNewScale, ScalingActive=True ValidMetricFound", "AbleToScale=True SucceededGetScale"
	const cpuName = "cpu resource utilization (percentage of request)"
	tests := []struct {
		name                string
		current             int32
		pods                string
		least               *int32
		most                int32
		metrics             []autoscalingv2.MetricSpec
		orders              int64 // what the external metric shows
		conditions          []autoscalingv2.HorizontalPodAutoscalerCondition
		want                int32
		why, wantConditions string
	}{
		{"up", 3, "300 500 700", &two, 6, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 5, cpuName + " above target", active + ", ScalingLimited=False DesiredWithinRange"},
		{"up to the maximum", 3, "300 500 700", &two, 4, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 4, cpuName + " above target", active + ", ScalingLimited=True TooManyReplicas"},
		{"up no faster than twofold", 3, "900 900 900", &two, 90, []autoscalingv2.MetricSpec{cpu(1)}, 0, nil, 6, cpuName + " above target", active + ", ScalingLimited=True ScaleUpLimit"},
		{"down is held back", 5, "100 300 500 250 250", &two, 6, []autoscalingv2.MetricSpec{cpu(50)}, 0, nil, 5, "All metrics below target",
			"AbleToScale=True ScaleDownStabilized, ScalingActive=True ValidMetricFound, ScalingLimited=False DesiredWithinRange"},
		{"as wanted", 3, "300 300 300", &two, 6, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 3, "", active + ", ScalingLimited=False DesiredWithinRange"},
		{"more than the maximum", 9, "0", &two, 6, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 6, "Current number of replicas above Spec.MaxReplicas", idle},
		{"less than the minimum", 1, "0", &two, 6, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 2, "Current number of replicas below Spec.MinReplicas", idle},
		{"the highest of two", 2, "500 500", &two, 9, []autoscalingv2.MetricSpec{cpu(50), external(autoscalingv2.ValueMetricType, "1")}, 2000, nil, 4, "external metric orders(nil) above target", active + ", ScalingLimited=False DesiredWithinRange"},
		{"switched off by zero", 0, "", &two, 6, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 0, "", idle + ", ScalingActive=False ScalingDisabled"},
		{"switched off by zero, whatever could be told", 0, "", &zero, 6, []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, 5000, nil, 0, "", idle + ", ScalingActive=False ScalingDisabled"},
		{"from zero", 0, "", &zero, 6, []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, 3000, []autoscalingv2.HorizontalPodAutoscalerCondition{toZero("True")}, 3,
			"external metric orders(nil) above target", "ScaledToZero=True , " + active + ", ScalingLimited=False DesiredWithinRange"},
		{"stays at zero", 0, "", &zero, 6, []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, 0, []autoscalingv2.HorizontalPodAutoscalerCondition{toZero("True")}, 0,
			"", "ScaledToZero=True , " + active + ", ScalingLimited=False DesiredWithinRange"},
		{"from zero, not by this controller", 0, "", &zero, 6, []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, 3000, []autoscalingv2.HorizontalPodAutoscalerCondition{toZero("False")}, 0,
			"", "ScaledToZero=False , " + idle + ", ScalingActive=False ScalingDisabled"},
		{"from zero to a minimum that was raised", 0, "", &two, 6, []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, 0, []autoscalingv2.HorizontalPodAutoscalerCondition{toZero("True")}, 2,
			"", "ScaledToZero=True , " + active + ", ScalingLimited=True TooFewReplicas"},
		{"from zero to a minimum above what one step may reach", 0, "", &six, 9, []autoscalingv2.MetricSpec{external(autoscalingv2.ValueMetricType, "1")}, 9000, []autoscalingv2.HorizontalPodAutoscalerCondition{toZero("True")}, 6,
			"external metric orders(nil) above target", "ScaledToZero=True , " + active + ", ScalingLimited=True ScaleUpLimit"},
		{"no minimum is one", 3, "0 0 0", nil, 6, []autoscalingv2.MetricSpec{cpu(30)}, 0, nil, 3, "All metrics below target",
			"AbleToScale=True ScaleDownStabilized, ScalingActive=True ValidMetricFound, ScalingLimited=False DesiredWithinRange"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := round(t, tt.current, tt.pods, tt.least, tt.most, tt.metrics...)
			s.Autoscaler.Status.Conditions = tt.conditions
			for i := range s.Readings {
				s.Readings[i].Values[0] = tt.orders
			}
			p := Decide(s)
			if p.Replicas != tt.want || p.Rescale != (tt.want != tt.current) || p.Why != tt.why || p.Err != nil || p.Failed || len(p.Events) != 0 {
				t.Errorf("plan %+v", p)
			}
			if got := reasons(p); got != tt.wantConditions {
				t.Errorf("conditions %s\n    want %s", got, tt.wantConditions)
			}
			if p.Status.CurrentReplicas != tt.current || p.Status.DesiredReplicas != tt.want || *p.Status.ObservedGeneration != 7 {
				t.Errorf("status %+v", p.Status)
			}
		})
	}
}

func TestDecideFromZeroWithBehavior(t *testing.T) {
	s := round(t, 0, "", new(int32(2)), 6, external(autoscalingv2.ValueMetricType, "1"))
	s.Autoscaler.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{toZero("True")}
	s.Autoscaler.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp: defaultUp.rules(autoscalingv2.MaxChangePolicySelect), ScaleDown: defaultDown.rules(autoscalingv2.MaxChangePolicySelect),
	}
	if p := Decide(s); p.Replicas != 2 || p.Why != "Current number of replicas below Spec.MinReplicas" || !p.Rescale {
		t.Errorf("plan %+v", p)
	}
}

func TestDecideDownWithHistory(t *testing.T) {
	s := round(t, 5, "100 300 500 250 250", new(int32(2)), 6, cpu(50))
	s.History.Recommendations = ago(5, 6)
	p := Rescaled(s, Decide(s), nil)
	if p.Replicas != 3 || !slices.Equal(p.History.Recommendations, ago(3, 0)) {
		t.Errorf("plan %+v", p)
	}
	if want := []Event{{"Normal", "SuccessfulRescale", "New size: 3; reason: All metrics below target"}}; !slices.Equal(p.Events, want) {
		t.Errorf("events %+v", p.Events)
	}
	if got := reasons(p); got != "AbleToScale=True SucceededRescale, ScalingActive=True ValidMetricFound, ScalingLimited=False DesiredWithinRange, ScaledToZero=False NotScaledToZero" {
		t.Errorf("conditions %s", got)
	}
	if !p.Scaled || !p.Status.LastScaleTime.Time.Equal(epoch()) {
		t.Errorf("status %+v", p.Status)
	}
}

func TestRescaled(t *testing.T) {
	s := round(t, 3, "300 500 700", new(int32(2)), 6, cpu(30))
	p := Rescaled(s, Decide(s), errors.New("no such luck"))
	if want := []Event{{"Warning", "FailedRescale", "New size: 5; reason: cpu resource utilization (percentage of request) above target; error: no such luck"}}; !slices.Equal(p.Events, want) {
		t.Errorf("events %+v", p.Events)
	}
	if c := p.Status.Conditions[0]; c.Status != "False" || c.Reason != "FailedUpdateScale" || c.Message != "the HPA controller was unable to update the target scale: no such luck" {
		t.Errorf("condition %+v", c)
	}
	if text(p.Err) != "failed to rescale Deployment/shop/web: no such luck" || !p.Failed || p.Scaled || p.Status.DesiredReplicas != 99 || p.Status.LastScaleTime != nil || len(p.Status.CurrentMetrics) != 1 {
		t.Errorf("plan %+v", p)
	}
	s = round(t, 2, "1 1", new(int32), 6, external(autoscalingv2.ValueMetricType, "1"))
	s.History.Recommendations = ago(2, 6)
	if p = Rescaled(s, Decide(s), nil); p.Replicas != 0 || !strings.HasSuffix(reasons(p), "ScaledToZero=True ScaledToZero") || p.Status.Conditions[3].Message != "the HPA controller scaled the workload to zero" {
		t.Errorf("to zero: %+v", p)
	}
	s.Autoscaler.Spec.Metrics = []autoscalingv2.MetricSpec{cpu(30)}
	s.History.Recommendations = ago(2, 6)
	s.Readings[0].Pods = Samples{"0": {}, "1": {}}
	if p = Rescaled(s, Decide(s), nil); p.Replicas != 0 || !strings.HasSuffix(reasons(p), "ScaledToZero=False NotScaledToZero") {
		t.Errorf("to zero for good: %+v", p)
	}
}

func TestInvalidMetrics(t *testing.T) {
	gone := errors.New("unable to fetch metrics from external metrics API: gone")
	bad := external(autoscalingv2.ValueMetricType, "1")
	const cause = "unable to get external metric shop/orders/nil: unable to fetch metrics from external metrics API: gone"
	const all = "failed to get orders external metric value: failed to get external metric orders: " + cause
	tests := []struct {
		name    string
		pods    string
		metrics []autoscalingv2.MetricSpec
		want    int32 // 3 are there
		err     string
		failed  bool
	}{
		{"the only one", "300 500 700", []autoscalingv2.MetricSpec{bad}, 3, "failed to compute desired number of replicas based on listed metrics for Deployment/shop/web: invalid metrics (1 invalid out of 1), first error is: " + all, true},
		{"one, and the other wants more", "300 500 700", []autoscalingv2.MetricSpec{bad, cpu(30)}, 5, "invalid metrics (1 invalid out of 2), first error is: " + all, false},
		{"one, and the other wants as many", "300 300 300", []autoscalingv2.MetricSpec{cpu(30), bad}, 3, "invalid metrics (1 invalid out of 2), first error is: " + all, false},
		{"one, and the other wants fewer", "100 100 100", []autoscalingv2.MetricSpec{cpu(30), bad}, 3, "failed to compute desired number of replicas based on listed metrics for Deployment/shop/web: invalid metrics (1 invalid out of 2), first error is: " + all, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := round(t, 3, tt.pods, new(int32(1)), 6, tt.metrics...)
			for i, m := range tt.metrics {
				if m.External != nil {
					s.Readings[i] = Reading{Err: gone}
				}
			}
			p := Decide(s)
			if p.Replicas != tt.want || text(p.Err) != tt.err || p.Failed != tt.failed {
				t.Errorf("plan %+v", p)
			}
			want := []Event{{"Warning", "FailedGetExternalMetric", cause}}
			active := "True"
			if tt.failed {
				active = "False"
				want = append(want, Event{"Warning", "FailedComputeMetricsReplicas", strings.TrimPrefix(tt.err, "failed to compute desired number of replicas based on listed metrics for Deployment/shop/web: ")})
			}
			if !slices.Equal(p.Events, want) {
				t.Errorf("events %+v", p.Events)
			}
			c := p.Status.Conditions[1]
			if string(c.Status) != active || (tt.failed && (c.Reason != "FailedGetExternalMetric" || c.Message != "the HPA was unable to compute the replica count: "+cause)) {
				t.Errorf("condition %+v", c)
			}
			if len(p.Status.CurrentMetrics) != len(tt.metrics) || len(p.Computed) != len(tt.metrics) || (tt.failed && p.Status.DesiredReplicas != 99) {
				t.Errorf("status %+v", p.Status)
			}
		})
	}
}

func inShop(name string) controller.Key { return controller.Key{Namespace: "shop", Name: name} }

func TestRefusals(t *testing.T) {
	_, missing := parse("")
	_, unreadable := parse("a in b")
	web, _ := parse("app=web")
	other, _ := parse("app=other")
	pods, _ := read(t, "1 1")
	both := ambiguous(inShop("web"), "app=web", map[controller.Key]labels.Selector{inShop("api"): web, inShop("zoo"): web}, pods)
	tests := []struct {
		refusal                *Refusal
		event, reason, message string
	}{
		{missing, "SelectorRequired", "InvalidSelector", "the HPA target's scale is missing a selector"},
		{unreadable, "InvalidSelector", "InvalidSelector", unreadable.Err.Error()},
		{both, "AmbiguousSelector", "AmbiguousSelector", "pods by selector app=web are controlled by more than one HPA (e.g. [shop/api shop/web])"},
	}
	for _, tt := range tests {
		s := round(t, 3, "300 500 700", new(int32(2)), 6, cpu(30))
		s.Selection = tt.refusal
		p := Decide(s)
		c := p.Status.Conditions[1]
		if c.Type != autoscalingv2.ScalingActive || c.Status != "False" || c.Reason != tt.reason || c.Message != tt.message {
			t.Errorf("%s: condition %+v", tt.event, c)
		}
		if want := []Event{{"Warning", tt.event, tt.refusal.Err.Error()}, {"Warning", "FailedComputeMetricsReplicas", tt.refusal.Err.Error()}}; !slices.Equal(p.Events, want) || p.Rescale || p.Status.CurrentMetrics != nil {
			t.Errorf("%s: plan %+v", tt.event, p)
		}
	}
	if !strings.HasPrefix(unreadable.Err.Error(), "couldn't convert selector into a corresponding internal selector object: ") {
		t.Errorf("unreadable: %v", unreadable.Err)
	}
	if r := ambiguous(inShop("web"), "app=web", map[controller.Key]labels.Selector{inShop("api"): other}, pods); r != nil {
		t.Errorf("another selector: %v", r.Err)
	}
	if r := ambiguous(inShop("web"), "app=web", map[controller.Key]labels.Selector{inShop("api"): web}, nil); r != nil {
		t.Errorf("no pods: %v", r.Err)
	}
}

func TestConditionTimes(t *testing.T) {
	s := round(t, 3, "300 300 300", new(int32(2)), 6, cpu(30))
	s.Autoscaler.Status = Decide(s).Status
	s.Now = epoch().Add(time.Hour)
	s.Autoscaler.Status.Conditions[1].Status = "False"
	p := Decide(s)
	if !p.Status.Conditions[0].LastTransitionTime.Time.Equal(epoch()) || !p.Status.Conditions[1].LastTransitionTime.Time.Equal(s.Now) {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	p = Unscalable(s.Autoscaler, errors.New("gone"), s.Now)
	if c := p.Status.Conditions[0]; c.Status != "False" || c.Reason != "FailedGetScale" || c.Message != "the HPA controller was unable to get the target's current scale: gone" || !c.LastTransitionTime.Time.Equal(s.Now) {
		t.Errorf("condition %+v", c)
	}
	if want := []Event{{"Warning", "FailedGetScale", "gone"}}; !slices.Equal(p.Events, want) {
		t.Errorf("events %+v", p.Events)
	}
}

func TestTolerance(t *testing.T) {
	q := func(s string) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{Tolerance: new(resource.MustParse(s))}
	}
	a := &autoscalingv2.HorizontalPodAutoscaler{}
	if got := tolerance(a, 0.1); got != (Tolerance{0.1, 0.1}) {
		t.Errorf("by default %v", got)
	}
	a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: q("0"), ScaleDown: &autoscalingv2.HPAScalingRules{}}
	if got := tolerance(a, 0.1); got != (Tolerance{0.1, 0}) {
		t.Errorf("up %v", got)
	}
	a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: q("25m")}
	if got := tolerance(a, 0.1); got != (Tolerance{0.025, 0.1}) {
		t.Errorf("down %v", got)
	}
}
