package stats

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"skiff/kubelet/cri"
)

// podStats puts the runtime's figures into the API's form.
func (p *Provider) podStats(used []cri.PodStats) []statsapi.PodStats {
	known := map[types.UID]*corev1.Pod{}
	for _, pod := range p.pods.Pods() {
		known[pod.UID] = pod
	}
	result := make([]statsapi.PodStats, 0, len(used))
	for i := range used {
		result = append(result, p.podStat(&used[i], known[types.UID(used[i].UID)]))
	}
	return result
}

func (p *Provider) podStat(used *cri.PodStats, pod *corev1.Pod) statsapi.PodStats {
	key := "pod/" + used.UID
	result := statsapi.PodStats{
		PodRef:       statsapi.PodReference{Name: used.Name, Namespace: used.Namespace, UID: used.UID},
		CPU:          p.cpu(key, used.Usage),
		Memory:       memoryStats(used.Usage, podLimit(pod)),
		Network:      network(used.Interfaces, metav1.NewTime(used.At)),
		ProcessStats: &statsapi.ProcessStats{ProcessCount: &used.Processes},
		Containers:   make([]statsapi.ContainerStats, 0, len(used.Containers)),
	}
	if pod != nil && pod.Status.StartTime != nil {
		result.StartTime = *pod.Status.StartTime
	}
	stored := statsapi.FsStats{Time: metav1.NewTime(used.At), UsedBytes: new(uint64), InodesUsed: new(uint64)}
	for i := range used.Containers {
		c := p.container(key, &used.Containers[i], pod)
		*stored.UsedBytes += *c.Rootfs.UsedBytes
		*stored.InodesUsed += *c.Rootfs.InodesUsed
		if !used.Containers[i].At.IsZero() { // else it has ended: only its files are left
			result.Containers = append(result.Containers, c)
		}
	}
	if p.volumes != nil {
		result.VolumeStats = p.volumes.Usage(types.UID(used.UID))
		addLocal(&stored, pod, result.VolumeStats)
	}
	result.EphemeralStorage = &stored
	return result
}

// addLocal adds the volumes that are on the node's disk for as long as their pod lives.
func addLocal(stored *statsapi.FsStats, pod *corev1.Pod, volumes []statsapi.VolumeStats) {
	if pod == nil {
		return
	}
	local := map[string]bool{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		local[v.Name] = v.ConfigMap != nil || v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault
	}
	for i := range volumes {
		if v := &volumes[i]; local[v.Name] && v.UsedBytes != nil && v.InodesUsed != nil {
			*stored.UsedBytes += *v.UsedBytes
			*stored.InodesUsed += *v.InodesUsed
		}
	}
}

func (p *Provider) container(pod string, used *cri.ContainerStats, of *corev1.Pod) statsapi.ContainerStats {
	return statsapi.ContainerStats{
		Name:      used.Name,
		StartTime: startTime(of, used.Name),
		CPU:       p.cpu(pod+"/"+used.ID, used.Usage),
		Memory:    memoryStats(used.Usage, containerLimit(of, used.Name)),
		Rootfs: &statsapi.FsStats{
			Time: metav1.NewTime(used.At), UsedBytes: &used.RootfsBytes, InodesUsed: &used.RootfsInodes,
		},
	}
}

// cpu prefers the rate the runtime tells to one over the time since the last request.
func (p *Provider) cpu(key string, used cri.Usage) *statsapi.CPUStats {
	at := used.At
	if at.IsZero() {
		at = time.Now()
	}
	own := p.rates.next(key, at, used.CPUTotal)
	if used.CPUNanoCores > 0 || own == nil {
		own = &used.CPUNanoCores
	}
	return &statsapi.CPUStats{Time: metav1.NewTime(at), UsageCoreNanoSeconds: nanoseconds(used.CPUTotal), UsageNanoCores: own}
}

func memoryStats(used cri.Usage, limit uint64) *statsapi.MemoryStats {
	result := &statsapi.MemoryStats{
		Time: metav1.NewTime(used.At), UsageBytes: &used.Memory, WorkingSetBytes: &used.WorkingSet, RSSBytes: &used.RSS,
		PageFaults: &used.PageFaults, MajorPageFaults: &used.MajorPageFaults,
	}
	if limit > 0 {
		available := limit - min(used.WorkingSet, limit)
		result.AvailableBytes = &available
	}
	return result
}

// network puts the interface that leads out first.
func network(found []cri.Interface, stamp metav1.Time) *statsapi.NetworkStats {
	if len(found) == 0 {
		return nil
	}
	result := &statsapi.NetworkStats{Time: stamp}
	for i := range found {
		one := statsapi.InterfaceStats{
			Name: found[i].Name, RxBytes: &found[i].RxBytes, RxErrors: &found[i].RxErrors,
			TxBytes: &found[i].TxBytes, TxErrors: &found[i].TxErrors,
		}
		if i == 0 {
			result.InterfaceStats = one
		}
		if i == 0 || one.Name != result.Name {
			result.Interfaces = append(result.Interfaces, one)
		}
	}
	return result
}

func startTime(pod *corev1.Pod, container string) metav1.Time {
	if pod == nil {
		return metav1.Time{}
	}
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for i := range list {
			if list[i].Name == container && list[i].State.Running != nil {
				return list[i].State.Running.StartedAt
			}
		}
	}
	return metav1.Time{}
}

func containerLimit(pod *corev1.Pod, container string) uint64 {
	if pod == nil {
		return 0
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == container {
				return uint64(list[i].Resources.Limits.Memory().Value())
			}
		}
	}
	return 0
}

// podLimit is the pod's memory limit: its own, or the sum of its containers' if all have one.
func podLimit(pod *corev1.Pod) uint64 {
	if pod == nil {
		return 0
	}
	if pod.Spec.Resources != nil && !pod.Spec.Resources.Limits.Memory().IsZero() {
		return uint64(pod.Spec.Resources.Limits.Memory().Value())
	}
	var total uint64
	for i := range pod.Spec.Containers {
		limit := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		if limit <= 0 {
			return 0
		}
		total += uint64(limit)
	}
	return total
}
