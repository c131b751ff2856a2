package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
	"skiff/kubelet/status"
)

// The kernel's terms for CPU.
const (
	minShares     = 2
	maxShares     = 262144
	sharesPerCPU  = 1024
	milliPerCPU   = 1000
	quotaPeriod   = 100000
	minQuota      = 1000
	guaranteedOOM = -997
	bestEffortOOM = 1000
)

// shares are the CPU shares of a request in thousandths of a CPU.
func shares(milli int64) int64 {
	if milli == 0 {
		return minShares
	}
	return min(max(milli*sharesPerCPU/milliPerCPU, minShares), maxShares)
}

// quota is the CPU time per period of a limit in thousandths of a CPU; none is -1... expressed as 0 for the runtime.
func quota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*quotaPeriod/milliPerCPU, minQuota)
}

// resources translates requests and limits.
func resources(r corev1.ResourceRequirements) *cri.LinuxContainerResources {
	request := r.Requests.Cpu().MilliValue()
	if r.Requests.Cpu().IsZero() && !r.Limits.Cpu().IsZero() {
		request = r.Limits.Cpu().MilliValue()
	}
	out := &cri.LinuxContainerResources{CpuShares: shares(request), MemoryLimitInBytes: r.Limits.Memory().Value()}
	if q := quota(r.Limits.Cpu().MilliValue()); q > 0 {
		out.CpuQuota, out.CpuPeriod = q, quotaPeriod
	}
	for name, value := range r.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			out.HugepageLimits = append(out.HugepageLimits, &cri.HugepageLimit{PageSize: pageSize(size), Limit: uint64(value.Value())})
		}
	}
	return out
}

// pageSize translates 2Mi to 2MB, as cgroups name page sizes.
func pageSize(size string) string { return strings.TrimSuffix(size, "i") + "B" }

// podResources are the limits of the pod as a whole, for sandboxes that are virtual machines.
func podResources(pod *corev1.Pod) *cri.LinuxContainerResources {
	var requests, limits = corev1.ResourceList{}, corev1.ResourceList{}
	for _, c := range pod.Spec.Containers {
		sum(requests, c.Resources.Requests)
		sum(limits, c.Resources.Limits)
	}
	return resources(corev1.ResourceRequirements{Requests: requests, Limits: limits})
}

func sum(into, add corev1.ResourceList) {
	for name, value := range add {
		total := into[name]
		total.Add(value)
		into[name] = total
	}
}

// oomScore orders containers for the kernel's killer: guaranteed ones last, best-effort ones first, and the others by how much
// memory they did not request.
func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= 2000000000 {
		return guaranteedOOM
	}
	switch status.QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOM
	case corev1.PodQOSBestEffort:
		return bestEffortOOM
	}
	request := c.Resources.Requests.Memory().Value()
	if capacity == 0 {
		return bestEffortOOM - 1
	}
	score := 1000 - 1000*request/capacity
	return min(max(score, 1000+guaranteedOOM), bestEffortOOM-1)
}
