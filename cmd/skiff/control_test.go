package main

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// constant is a collector of one gauge.
type constant struct {
	metrics.BaseStableCollector
	desc *metrics.Desc
}

func (c *constant) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- c.desc }

func (c *constant) CollectWithStability(ch chan<- metrics.Metric) {
	ch <- metrics.NewLazyConstMetric(c.desc, metrics.GaugeValue, 1)
}

// TestServedMetrics finds what controllers register where the API server gathers what it shows.
func TestServedMetrics(t *testing.T) {
	mine := fmt.Sprintf("skiff_test_%d", time.Now().UnixNano()) // the registry is the process's
	gauge := metrics.NewGauge(&metrics.GaugeOpts{Name: mine, Help: "h", StabilityLevel: metrics.ALPHA})
	if err := (served{}).Register(gauge); err != nil {
		t.Fatal(err)
	}
	gauge.Set(1)
	if err := (served{}).CustomRegister(&constant{desc: metrics.NewDesc(mine+"_constant", "h", nil, nil, metrics.ALPHA, "")}); err != nil {
		t.Fatal(err)
	}
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]float64{}
	for _, f := range families {
		shown[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	if shown[mine] != 1 || shown[mine+"_constant"] != 1 {
		t.Errorf("shown: %v, %v", shown[mine], shown[mine+"_constant"])
	}
}
