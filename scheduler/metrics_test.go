package scheduler_test

import (
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metric answers a metric's value, or how often a histogram was told something; false when it isn't shown. Labels are
// "name=value".
func (c *cluster) metric(name string, labels ...string) (float64, bool) {
	c.t.Helper()
	families, err := c.sched.Metrics().Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "scheduler_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			var has []string
			for _, l := range m.GetLabel() {
				has = append(has, l.GetName()+"="+l.GetValue())
			}
			if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
				continue
			}
			return value(m), true
		}
	}
	return 0, false
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	default:
		return m.GetGauge().GetValue()
	}
}

// shows waits until a metric has a value.
func (c *cluster) shows(want float64, name string, labels ...string) {
	c.t.Helper()
	last := -1.0
	c.eventually(name+" "+strings.Join(labels, " "), func() bool {
		c.t.Helper()
		got, ok := c.metric(name, labels...)
		if ok && got != last {
			last = got
			c.t.Logf("%s %v: %v", name, labels, got)
		}
		return ok && got == want
	})
}

func TestMetrics(t *testing.T) {
	c := startWith(t, parse(t, "profiles: [{schedulerName: default-scheduler}, {schedulerName: other}]"), node("n1", "2"), node("n2", "1"))
	c.create(pod("a", "1"))
	c.create(of("other", pod("b", "1")))
	c.onNode("a", "n1")
	c.eventually("b placed", func() bool { return c.pod("b").Spec.NodeName != "" })
	c.create(of("other", pod("big", "3")))
	gated := pod("gated", "1")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}}
	c.create(gated)
	c.shows(1, "schedule_attempts_total", "result=scheduled", "profile=default-scheduler")
	c.shows(1, "schedule_attempts_total", "result=scheduled", "profile=other")
	c.shows(1, "schedule_attempts_total", "result=unschedulable", "profile=other")
	c.shows(1, "scheduling_attempt_duration_seconds", "result=scheduled", "profile=other")
	c.shows(2, "pod_scheduling_sli_duration_seconds", "attempts=1")
	c.shows(2, "pod_scheduling_attempts")
	c.shows(3, "scheduling_algorithm_duration_seconds")
	c.shows(3, "queue_incoming_pods_total", "queue=active", "event=UnscheduledPodAdd")
	c.shows(3, "queue_incoming_entities_total", "queue=active", "event=UnscheduledPodAdd", "type=pod")
	c.shows(1, "queue_incoming_pods_total", "queue=gated", "event=UnscheduledPodAdd")
	c.shows(1, "queue_incoming_pods_total", "queue=unschedulable", "event=ScheduleAttemptFailure")
	c.shows(1, "pending_pods", "queue=unschedulable")
	c.shows(1, "pending_pods", "queue=gated")
	c.shows(1, "queued_entities", "queue=gated", "type=pod")
	c.shows(1, "unschedulable_pods", "plugin=NodeResourcesFit", "profile=other")
	c.shows(1, "unschedulable_pods", "plugin=SchedulingGates", "profile=default-scheduler")
	c.shows(2, "cache_size", "type=nodes")
	c.shows(2, "cache_size", "type=pods")
	c.shows(0, "cache_size", "type=assumed_pods")
	c.shows(2, "event_handling_duration_seconds", "event=NodeAdd")
	c.shows(2, "framework_extension_point_duration_seconds", "extension_point=PreFilter", "status=Success", "profile=other")
	c.shows(2, "framework_extension_point_duration_seconds", "extension_point=Filter", "status=Success", "profile=other")
	c.shows(1, "framework_extension_point_duration_seconds", "extension_point=PostFilter", "status=Unschedulable", "profile=other")
	for _, point := range []string{"Reserve", "Permit", "PreBind", "Bind", "PostBind"} {
		c.shows(1, "framework_extension_point_duration_seconds", "extension_point="+point, "status=Success", "profile=default-scheduler")
	}
	// Both of two nodes for each of two pods.
	c.shows(4, "plugin_evaluation_total", "plugin=NodeResourcesFit", "extension_point=Filter", "profile=other")
	c.shows(2, "plugin_evaluation_total", "plugin=NodeAffinity", "extension_point=PreFilter", "profile=other")
	c.shows(0, "goroutines", "operation=binding")
	c.shows(1, "preemption_attempts_total") // It found no victims.
	c.shows(0, "preemption_victims")

	high := pod("high", "2")
	high.Spec.Priority = new(int32(100))
	c.create(high)
	c.onNode("high", "n1")
	// A pod that is tried again before the end of its victim is known counts it again.
	for name, labels := range map[string][]string{"preemption_victims": nil, "preemption_goroutines_execution_total": {"result=success"}} {
		c.eventually(name, func() bool {
			n, ok := c.metric(name, labels...)
			return ok && n >= 1
		})
	}

	if err := c.client.CoreV1().Pods("default").Delete(c.ctx, "big", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.shows(0, "pending_pods", "queue=unschedulable")
	if n, ok := c.metric("unschedulable_pods", "plugin=NodeResourcesFit", "profile=other"); ok {
		t.Errorf("still %v unschedulable pods", n)
	}
}

// TestMetricsOfNominatedNode: a look at the nominated node alone is a search as well.
func TestMetricsOfNominatedNode(t *testing.T) {
	c := start(t, node("n1", "2"), node("n2", "2"))
	promised := pod("promised", "1")
	promised.Status.NominatedNodeName = "n2"
	c.create(promised)
	c.onNode("promised", "n2")
	c.shows(1, "framework_extension_point_duration_seconds", "extension_point=Filter", "status=Success")
	c.shows(1, "plugin_evaluation_total", "plugin=NodeResourcesFit", "extension_point=Filter")
}
