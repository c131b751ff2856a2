package plugins

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// SchedulingGates keeps pods with scheduling gates out of the queue.
type SchedulingGates struct{}

// Name implements framework.Plugin.
func (SchedulingGates) Name() string { return "SchedulingGates" }

// PreEnqueue rejects a pod that still has gates.
func (p SchedulingGates) PreEnqueue(pod *corev1.Pod) *framework.Status {
	if len(pod.Spec.SchedulingGates) == 0 {
		return nil
	}
	gates := make([]string, 0, len(pod.Spec.SchedulingGates))
	for _, g := range pod.Spec.SchedulingGates {
		gates = append(gates, g.Name)
	}
	return framework.NewStatus(framework.UnschedulableAndUnresolvable, fmt.Sprintf("waiting for scheduling gates: %v", gates))
}

// EventsToRegister waits for the pod's own gates to go.
func (SchedulingGates) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{on(framework.TargetPod, framework.UpdatePodSchedulingGatesEliminated, nil)}
}
