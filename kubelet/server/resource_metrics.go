package server

import (
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// nano is how many seconds a nanosecond is.
const nano = 1e-9

// The resource metrics, which metrics servers and autoscalers read.
var (
	nodeCPU    = metric{"node_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the node in core-seconds", dto.MetricType_COUNTER}
	nodeMemory = metric{"node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", dto.MetricType_GAUGE}
	nodeSwap   = metric{"node_swap_usage_bytes", "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems", dto.MetricType_GAUGE}

	containerCPU    = metric{"container_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the container in core-seconds", dto.MetricType_COUNTER}
	containerMemory = metric{"container_memory_working_set_bytes", "[STABLE] Current working set of the container in bytes", dto.MetricType_GAUGE}
	containerStart  = metric{"container_start_time_seconds", "[STABLE] Start time of the container since unix epoch in seconds", dto.MetricType_GAUGE}

	podCPU    = metric{"pod_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", dto.MetricType_COUNTER}
	podMemory = metric{"pod_memory_working_set_bytes", "[STABLE] Current working set of the pod in bytes", dto.MetricType_GAUGE}

	scrapeError = metric{"resource_scrape_error", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", dto.MetricType_GAUGE}
)

// resourceMetrics answers CPU and memory of node, pods and containers.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	f := newFamilies()
	summary, err := s.deps.Stats.Summary(r.Context())
	if err != nil {
		klog.FromContext(r.Context()).Error(err, "Reading statistics for metrics failed")
		f.add(scrapeError, sample{value: 1})
	} else {
		addNode(f, &summary.Node)
		for i := range summary.Pods {
			addPod(f, &summary.Pods[i])
		}
		f.add(scrapeError, sample{value: 0})
	}
	gatherer(f).ServeHTTP(w, r)
}

func addNode(f *families, node *statsapi.NodeStats) {
	if node.CPU != nil {
		f.optional(nodeCPU, node.CPU.UsageCoreNanoSeconds, nano, sample{at: node.CPU.Time.Time})
	}
	if node.Memory != nil {
		f.optional(nodeMemory, node.Memory.WorkingSetBytes, 1, sample{at: node.Memory.Time.Time})
	}
	if node.Swap != nil {
		f.optional(nodeSwap, node.Swap.SwapUsageBytes, 1, sample{at: node.Swap.Time.Time})
	}
}

func addPod(f *families, pod *statsapi.PodStats) {
	labels := []string{"namespace", pod.PodRef.Namespace, "pod", pod.PodRef.Name}
	if pod.CPU != nil {
		f.optional(podCPU, pod.CPU.UsageCoreNanoSeconds, nano, sample{at: pod.CPU.Time.Time, labels: labels})
	}
	if pod.Memory != nil {
		f.optional(podMemory, pod.Memory.WorkingSetBytes, 1, sample{at: pod.Memory.Time.Time, labels: labels})
	}
	for i := range pod.Containers {
		c := &pod.Containers[i]
		own := append([]string{"container", c.Name}, labels...)
		if c.CPU != nil {
			f.optional(containerCPU, c.CPU.UsageCoreNanoSeconds, nano, sample{at: c.CPU.Time.Time, labels: own})
		}
		if c.Memory != nil {
			f.optional(containerMemory, c.Memory.WorkingSetBytes, 1, sample{at: c.Memory.Time.Time, labels: own})
		}
		if !c.StartTime.IsZero() {
			f.add(containerStart, sample{value: float64(c.StartTime.UnixNano()) * nano, at: measured(c), labels: own})
		}
	}
}

// measured is when a container's figures were read.
func measured(c *statsapi.ContainerStats) time.Time {
	if c.CPU != nil {
		return c.CPU.Time.Time
	}
	return time.Time{}
}
