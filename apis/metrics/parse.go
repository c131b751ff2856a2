package metrics

import (
	"fmt"
	"io"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"
)

// Families of /metrics/resource (KEP-1206).
const (
	nodeCPU         = "node_cpu_usage_seconds_total"
	nodeMemory      = "node_memory_working_set_bytes"
	containerCPU    = "container_cpu_usage_seconds_total"
	containerMemory = "container_memory_working_set_bytes"
	containerStart  = "container_start_time_seconds"
)

// parse reads what a kubelet answers. Figures without a time of their own are of
// now. A pod of which some container is told in part is left out as a whole.
func parse(text io.Reader, now time.Time) (sample, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return sample{}, fmt.Errorf("reading resource metrics: %w", err)
	}
	var node partial
	pods := map[types.NamespacedName]map[string]*partial{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			switch name {
			case nodeCPU, nodeMemory:
				node.set(name, m, now)
			case containerCPU, containerMemory, containerStart:
				container(pods, m).set(name, m, now)
			}
		}
	}
	out := sample{pods: make(map[types.NamespacedName]map[string]point, len(pods))}
	if node.complete() {
		out.node = &node.point
	}
	for pod, containers := range pods {
		if points := complete(containers); len(points) > 0 {
			out.pods[pod] = points
		}
	}
	return out, nil
}

// partial is a point that is being read.
type partial struct {
	point
	hasCPU, hasMemory bool
}

func (p *partial) complete() bool { return p.hasCPU && p.hasMemory }

func (p *partial) set(family string, m *dto.Metric, now time.Time) {
	at, value := now, figure(m)
	if m.TimestampMs != nil {
		at = time.UnixMilli(m.GetTimestampMs())
	}
	if math.IsNaN(value) || value < 0 {
		return
	}
	switch family {
	case nodeCPU, containerCPU:
		p.cpu, p.at, p.hasCPU = seconds(value), at, true // the time of the processor's figure is the one that matters
	case nodeMemory, containerMemory:
		p.memory, p.hasMemory = int64(value), true
	case containerStart:
		p.start = time.Unix(0, 0).Add(seconds(value))
	}
}

func figure(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return m.GetUntyped().GetValue()
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

// container answers the one that a figure's labels name.
func container(pods map[types.NamespacedName]map[string]*partial, m *dto.Metric) *partial {
	var pod types.NamespacedName
	var name string
	for _, l := range m.GetLabel() {
		switch l.GetName() {
		case "namespace":
			pod.Namespace = l.GetValue()
		case "pod":
			pod.Name = l.GetValue()
		case "container":
			name = l.GetValue()
		}
	}
	if pods[pod] == nil {
		pods[pod] = map[string]*partial{}
	}
	if pods[pod][name] == nil {
		pods[pod][name] = &partial{}
	}
	return pods[pod][name]
}

// complete answers nil if something is missing. Of what never told more than its
// start there is nothing to miss.
func complete(containers map[string]*partial) map[string]point {
	out := make(map[string]point, len(containers))
	for name, p := range containers {
		switch {
		case p.complete():
			out[name] = p.point
		case p.hasCPU || p.hasMemory:
			return nil
		}
	}
	return out
}
