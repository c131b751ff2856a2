package cri

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Usage is what a pod or container uses at one moment; zero when the runtime doesn't know.
type Usage struct {
	At time.Time
	// CPUTotal is the time used since the start; CPUNanoCores the present rate in billionths of a core.
	CPUTotal     time.Duration
	CPUNanoCores uint64
	// Memory is all memory in use, WorkingSet what cannot be reclaimed easily, RSS the anonymous part; in bytes.
	Memory, WorkingSet, RSS     uint64
	PageFaults, MajorPageFaults uint64
}

// Interface is the traffic of a network interface in bytes and packets' errors.
type Interface struct {
	Name                                 string
	RxBytes, RxErrors, TxBytes, TxErrors uint64
}

// ContainerStats is a container's use.
type ContainerStats struct {
	ID, Name string
	Usage
	// RootfsBytes and RootfsInodes are those of the writable layer.
	RootfsBytes, RootfsInodes uint64
}

// PodStats is a running pod's use.
type PodStats struct {
	UID, Namespace, Name string
	Usage
	Processes  uint64
	Interfaces []Interface
	Containers []ContainerStats
}

// Stats reads the use of every running pod.
func (c *Client) Stats(ctx context.Context) ([]PodStats, error) {
	answer, err := c.runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("reading pods' statistics: %w", plain(err))
	}
	out := make([]PodStats, 0, len(answer.GetStats()))
	for _, s := range answer.GetStats() {
		m := s.GetAttributes().GetMetadata()
		pod := PodStats{
			UID: m.GetUid(), Namespace: m.GetNamespace(), Name: m.GetName(),
			Usage: usage(s.GetLinux().GetCpu(), s.GetLinux().GetMemory()), Processes: s.GetLinux().GetProcess().GetProcessCount().GetValue(),
		}
		network := s.GetLinux().GetNetwork()
		for _, link := range append([]*runtimeapi.NetworkInterfaceUsage{network.GetDefaultInterface()}, network.GetInterfaces()...) {
			if link != nil {
				pod.Interfaces = append(pod.Interfaces, Interface{
					Name: link.GetName(), RxBytes: link.GetRxBytes().GetValue(), RxErrors: link.GetRxErrors().GetValue(),
					TxBytes: link.GetTxBytes().GetValue(), TxErrors: link.GetTxErrors().GetValue(),
				})
			}
		}
		for _, container := range s.GetLinux().GetContainers() {
			pod.Containers = append(pod.Containers, containerStats(container))
		}
		out = append(out, pod)
	}
	return out, nil
}

func containerStats(s *runtimeapi.ContainerStats) ContainerStats {
	return ContainerStats{
		ID: s.GetAttributes().GetId(), Name: s.GetAttributes().GetMetadata().GetName(), Usage: usage(s.GetCpu(), s.GetMemory()),
		RootfsBytes: s.GetWritableLayer().GetUsedBytes().GetValue(), RootfsInodes: s.GetWritableLayer().GetInodesUsed().GetValue(),
	}
}

func usage(cpu *runtimeapi.CpuUsage, memory *runtimeapi.MemoryUsage) Usage {
	return Usage{
		At: at(max(cpu.GetTimestamp(), memory.GetTimestamp())), CPUTotal: time.Duration(cpu.GetUsageCoreNanoSeconds().GetValue()),
		CPUNanoCores: cpu.GetUsageNanoCores().GetValue(), Memory: memory.GetUsageBytes().GetValue(),
		WorkingSet: memory.GetWorkingSetBytes().GetValue(), RSS: memory.GetRssBytes().GetValue(),
		PageFaults: memory.GetPageFaults().GetValue(), MajorPageFaults: memory.GetMajorPageFaults().GetValue(),
	}
}
