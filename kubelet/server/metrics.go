package server

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// processMetrics are the kubelet's own metrics and whatever else the process has for this endpoint.
func (s *Server) processMetrics() (http.Handler, error) {
	own := prometheus.NewRegistry()
	for _, collector := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := own.Register(collector); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	sources := prometheus.Gatherers{own, prometheus.GathererFunc(s.kubeletMetrics)}
	if s.deps.Metrics != nil {
		sources = append(sources, s.deps.Metrics)
	}
	return gatherer(sources), nil
}

// kubeletMetrics counts what runs.
func (s *Server) kubeletMetrics() ([]*dto.MetricFamily, error) {
	f := newFamilies()
	f.add(metric{"kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", dto.MetricType_GAUGE},
		sample{value: 1, labels: []string{"node", s.config.NodeName}})
	f.add(metric{"kubernetes_build_info", "[BETA] A metric with a constant '1' value labeled by the version.", dto.MetricType_GAUGE},
		sample{value: 1, labels: []string{"git_version", s.config.Version}})
	running := 0
	containers := map[string]int{}
	pods := s.deps.Pods.Pods()
	if s.deps.Volumes != nil {
		addVolumes(f, pods, s.deps.Volumes)
	}
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning {
			running++
		}
		for i := range pod.Status.ContainerStatuses {
			containers[stateName(pod.Status.ContainerStatuses[i].State)]++
		}
	}
	f.add(metric{"kubelet_running_pods", "[BETA] Number of pods that have a running pod sandbox", dto.MetricType_GAUGE}, sample{value: float64(running)})
	for state, count := range containers {
		f.add(metric{"kubelet_running_containers", "[BETA] Number of containers currently running", dto.MetricType_GAUGE},
			sample{value: float64(count), labels: []string{"container_state", state}})
	}
	return f.Gather()
}

func stateName(state corev1.ContainerState) string {
	switch {
	case state.Running != nil:
		return "running"
	case state.Terminated != nil:
		return "exited"
	case state.Waiting != nil:
		return "created"
	}
	return "unknown"
}

// onlyCPUAndMemory is a summary without everything else.
func onlyCPUAndMemory(full *statsapi.Summary) *statsapi.Summary {
	short := &statsapi.Summary{Node: statsapi.NodeStats{
		NodeName: full.Node.NodeName, StartTime: full.Node.StartTime, CPU: full.Node.CPU, Memory: full.Node.Memory,
	}, Pods: make([]statsapi.PodStats, 0, len(full.Pods))}
	for i := range full.Pods {
		pod := statsapi.PodStats{
			PodRef: full.Pods[i].PodRef, StartTime: full.Pods[i].StartTime, CPU: full.Pods[i].CPU, Memory: full.Pods[i].Memory,
		}
		for j := range full.Pods[i].Containers {
			c := &full.Pods[i].Containers[j]
			pod.Containers = append(pod.Containers, statsapi.ContainerStats{Name: c.Name, StartTime: c.StartTime, CPU: c.CPU, Memory: c.Memory})
		}
		short.Pods = append(short.Pods, pod)
	}
	return short
}
