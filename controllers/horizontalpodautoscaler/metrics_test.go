package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

func TestCounts(t *testing.T) {
	registry, c := metrics.NewKubeRegistry(), newCounters()
	if err := c.register(registry); err != nil {
		t.Fatal(err)
	}
	took := []time.Duration{time.Second}
	up := []Computed{{Type: autoscalingv2.ResourceMetricSourceType, Replicas: 5}}
	c.round(Plan{Replicas: 5, Scaled: true, Computed: up}, 3, 3, time.Second, took)
	c.round(Plan{Replicas: 1, Scaled: true}, 3, 3, time.Second, nil)
	c.round(Plan{Replicas: 5, Computed: []Computed{{Type: autoscalingv2.PodsMetricSourceType, Err: errors.New("gone")}}, Err: errors.New("gone")}, 3, 3, time.Second, took)
	c.round(Plan{Err: fmt.Errorf("bad%w", errSpec)}, 3, 0, time.Second, nil)
	c.want(inShop("web"), 5)
	c.autoscalers.Inc()
	c.skip()
	want := `
# HELP horizontal_pod_autoscaler_controller_desired_replicas [ALPHA] Current desired replica count for HPA objects.
# TYPE horizontal_pod_autoscaler_controller_desired_replicas gauge
horizontal_pod_autoscaler_controller_desired_replicas{hpa_name="web",namespace="shop"} 5
# HELP horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers [ALPHA] Current number of controlled HPA objects.
# TYPE horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers gauge
horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers 1
# HELP horizontal_pod_autoscaler_controller_stale_sync_skips_total [ALPHA] Total number of HPA syncs skipped due to a stale watch cache.
# TYPE horizontal_pod_autoscaler_controller_stale_sync_skips_total counter
horizontal_pod_autoscaler_controller_stale_sync_skips_total{group="autoscaling",resource="horizontalpodautoscalers"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), subsystem+"_desired_replicas", subsystem+"_num_horizontal_pod_autoscalers", subsystem+"_stale_sync_skips_total"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			seen[strings.TrimPrefix(f.GetName(), subsystem+"_")+" "+strings.Join(labels, " ")] = true
		}
	}
	for _, line := range []string{
		"reconciliations_total scale_up none", "reconciliations_total scale_down none", "reconciliations_total none internal", "reconciliations_total none spec",
		"reconciliation_duration_seconds scale_up none", "metric_computation_total scale_up none Resource", "metric_computation_total none internal Pods",
		"metric_computation_duration_seconds scale_up none Resource",
	} {
		if !seen[line] {
			t.Errorf("no %q in %v", line, seen)
		}
	}
}
