package server

import (
	"net/http"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// counter and gauge describe a family of the names cAdvisor gave them, which dashboards use.
func counter(name, help string) metric { return metric{name, help, dto.MetricType_COUNTER} }

func gauge(name, help string) metric { return metric{name, help, dto.MetricType_GAUGE} }

// cpuPeriod is the length in microseconds of the periods CPU quotas are given for.
const cpuPeriod = 100000

// containerMetrics answers the essential families of what was cAdvisor's endpoint.
func (s *Server) containerMetrics(w http.ResponseWriter, r *http.Request) {
	summary, err := s.deps.Stats.Summary(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f := newFamilies()
	pods := map[types.UID]*corev1.Pod{}
	for _, pod := range s.deps.Pods.Pods() {
		pods[pod.UID] = pod
	}
	addMachine(f, &summary.Node)
	for i := range summary.Pods {
		used := &summary.Pods[i]
		addPodUse(f, used)
		for j := range used.Containers {
			addContainerUse(f, used, &used.Containers[j], pods[types.UID(used.PodRef.UID)])
		}
	}
	gatherer(f).ServeHTTP(w, r)
}

func addMachine(f *families, node *statsapi.NodeStats) {
	root := []string{"container", "", "id", "/", "image", "", "name", "", "namespace", "", "pod", ""}
	addUse(f, node.CPU, node.Memory, root)
	if node.Memory != nil && node.Memory.AvailableBytes != nil && node.Memory.WorkingSetBytes != nil {
		f.add(gauge("machine_memory_bytes", "Amount of memory installed on the machine."),
			sample{value: float64(*node.Memory.AvailableBytes + *node.Memory.WorkingSetBytes)})
	}
	addNetwork(f, node.Network, root)
}

// addPodUse tells a pod as a whole: what it uses, under an empty container name, and its traffic.
func addPodUse(f *families, pod *statsapi.PodStats) {
	labels := []string{
		"container", "", "id", "/pod" + pod.PodRef.UID, "image", "", "name", "",
		"namespace", pod.PodRef.Namespace, "pod", pod.PodRef.Name,
	}
	addUse(f, pod.CPU, pod.Memory, labels)
	addNetwork(f, pod.Network, labels)
	if pod.ProcessStats != nil {
		f.optional(gauge("container_processes", "Number of processes running inside the container."), pod.ProcessStats.ProcessCount, 1, sample{labels: labels})
	}
}

func addContainerUse(f *families, pod *statsapi.PodStats, c *statsapi.ContainerStats, object *corev1.Pod) {
	image, id := "", ""
	if object != nil {
		if status := statusOf(object, c.Name); status != nil {
			image, id = status.Image, status.ContainerID
		}
	}
	labels := []string{
		"container", c.Name, "id", "/pod" + pod.PodRef.UID + "/" + c.Name, "image", image, "name", id,
		"namespace", pod.PodRef.Namespace, "pod", pod.PodRef.Name,
	}
	addUse(f, c.CPU, c.Memory, labels)
	if c.Rootfs != nil {
		f.optional(gauge("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem."),
			c.Rootfs.UsedBytes, 1, sample{at: c.Rootfs.Time.Time, labels: labels})
	}
	if !c.StartTime.IsZero() {
		f.add(gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds."),
			sample{value: float64(c.StartTime.Unix()), labels: labels})
	}
	if object != nil {
		addSpec(f, object, c.Name, labels)
	}
}

func addUse(f *families, cpu *statsapi.CPUStats, memory *statsapi.MemoryStats, labels []string) {
	if cpu != nil {
		at := sample{at: cpu.Time.Time, labels: append([]string{"cpu", "total"}, labels...)}
		f.optional(counter("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds."), cpu.UsageCoreNanoSeconds, nano, at)
		f.add(gauge("container_last_seen", "Last time a container was seen by the exporter"),
			sample{value: float64(cpu.Time.Unix()), at: cpu.Time.Time, labels: labels})
	}
	if memory == nil {
		return
	}
	at := sample{at: memory.Time.Time, labels: labels}
	f.optional(gauge("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed"), memory.UsageBytes, 1, at)
	f.optional(gauge("container_memory_working_set_bytes", "Current working set in bytes."), memory.WorkingSetBytes, 1, at)
	f.optional(gauge("container_memory_rss", "Size of RSS in bytes."), memory.RSSBytes, 1, at)
	faults := counter("container_memory_failures_total", "Cumulative count of memory allocation failures.")
	for kind, value := range map[string]*uint64{"pgfault": memory.PageFaults, "pgmajfault": memory.MajorPageFaults} {
		at.labels = append([]string{"failure_type", kind, "scope", "container"}, labels...)
		f.optional(faults, value, 1, at)
	}
}

func addNetwork(f *families, network *statsapi.NetworkStats, labels []string) {
	if network == nil {
		return
	}
	for i := range network.Interfaces {
		link := &network.Interfaces[i]
		at := sample{at: network.Time.Time, labels: append([]string{"interface", link.Name}, labels...)}
		f.optional(counter("container_network_receive_bytes_total", "Cumulative count of bytes received"), link.RxBytes, 1, at)
		f.optional(counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving"), link.RxErrors, 1, at)
		f.optional(counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted"), link.TxBytes, 1, at)
		f.optional(counter("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting"), link.TxErrors, 1, at)
	}
}

// addSpec tells the container's limits as its cgroup has them.
func addSpec(f *families, pod *corev1.Pod, name string, labels []string) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if c.Name != name {
			continue
		}
		f.add(gauge("container_spec_memory_limit_bytes", "Memory limit for the container."),
			sample{value: float64(c.Resources.Limits.Memory().Value()), labels: labels})
		f.add(gauge("container_spec_cpu_period", "CPU period of the container."), sample{value: cpuPeriod, labels: labels})
		if quota := c.Resources.Limits.Cpu().MilliValue(); quota > 0 {
			f.add(gauge("container_spec_cpu_quota", "CPU quota of the container."),
				sample{value: float64(quota) * cpuPeriod / 1000, labels: labels})
		}
	}
}
