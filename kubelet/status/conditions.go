package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// own are the conditions that the node writes, in the order in which users see them.
var own = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
}

// conditions makes the node's conditions and keeps those of others.
func conditions(in Input, status *corev1.PodStatus) []corev1.PodCondition {
	initialized := initializedCondition(in, status)
	ready := containersReady(in, status)
	made := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: truth(in.Sandbox != nil && in.Sandbox.Ready && (in.Pod.Spec.HostNetwork || len(in.Sandbox.IPs) > 0))},
		initialized, podReady(in, ready), ready,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	for i := range made {
		made[i].ObservedGeneration = in.Pod.Generation
		made[i].LastTransitionTime = metav1.NewTime(in.Now.Truncate(1e9))
		if old := find(in.Pod.Status.Conditions, made[i].Type); old != nil {
			made[i].LastProbeTime = old.LastProbeTime
			if old.Status == made[i].Status {
				made[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	for _, other := range in.Pod.Status.Conditions {
		if !slices.Contains(own, other.Type) {
			made = append(made, other)
		}
	}
	return made
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func find(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	if i := slices.IndexFunc(list, func(c corev1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &list[i]
	}
	return nil
}

func initializedCondition(in Input, status *corev1.PodStatus) corev1.PodCondition {
	out := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if in.Phase == corev1.PodSucceeded {
		out.Reason = "PodCompleted"
		return out
	}
	if in.Initialized {
		return out
	}
	var missing []string
	for i, s := range status.InitContainerStatuses {
		done := s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		if sidecar(&in.Pod.Spec.InitContainers[i]) {
			done = s.Started != nil && *s.Started
		}
		if !done {
			missing = append(missing, s.Name)
		}
	}
	if len(missing) > 0 {
		out.Status, out.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		out.Message = fmt.Sprintf("containers with incomplete status: %s", missing)
	}
	return out
}

func containersReady(in Input, status *corev1.PodStatus) corev1.PodCondition {
	out := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch in.Phase {
	case corev1.PodSucceeded:
		out.Reason = "PodCompleted"
		return out
	case corev1.PodFailed:
		out.Reason = "PodFailed"
		return out
	}
	var unready []string
	for i, s := range status.InitContainerStatuses {
		if sidecar(&in.Pod.Spec.InitContainers[i]) && !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	for _, s := range status.ContainerStatuses {
		if !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	if len(unready) > 0 {
		out.Reason, out.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return out
	}
	out.Status = corev1.ConditionTrue
	return out
}

// podReady adds the pod's readiness gates to its containers' readiness.
func podReady(in Input, containers corev1.PodCondition) corev1.PodCondition {
	out := containers
	out.Type = corev1.PodReady
	if containers.Status != corev1.ConditionTrue {
		return out
	}
	var unmet []string
	for _, gate := range in.Pod.Spec.ReadinessGates {
		switch condition := find(in.Pod.Status.Conditions, gate.ConditionType); {
		case condition == nil:
			unmet = append(unmet, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case condition.Status != corev1.ConditionTrue:
			unmet = append(unmet, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, condition.Status))
		}
	}
	if len(unmet) > 0 {
		out.Status, out.Reason, out.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(unmet, ", ")
	}
	return out
}
