package server

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
)

func targetOf(r *http.Request) StreamTarget {
	return StreamTarget{Namespace: r.PathValue("namespace"), Pod: r.PathValue("pod"), Container: r.PathValue("container")}
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

func statusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// loggable says why a container has no log to show yet, or no longer.
func loggable(pod *corev1.Pod, container string, previous bool) error {
	status := statusOf(pod, container)
	if status == nil {
		return fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
	}
	last := status.LastTerminationState.Terminated
	hasLast := last != nil && last.ContainerID != ""
	state := status.State
	switch {
	case previous && !hasLast:
		return fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
	case previous, state.Running != nil:
		return nil
	case state.Terminated != nil:
		if state.Terminated.ContainerID == "" && !hasLast {
			return fmt.Errorf("container %q in pod %q is terminated", container, pod.Name)
		}
		return nil
	case last != nil:
		if !hasLast {
			return fmt.Errorf("container %q in pod %q is terminated", container, pod.Name)
		}
		return nil
	case state.Waiting != nil:
		return fmt.Errorf("container %q in pod %q is waiting to start: %s", container, pod.Name, waitingFor(state.Waiting.Reason))
	}
	return fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", container, pod.Name)
}

func waitingFor(reason string) string {
	switch reason {
	case "ErrImagePull":
		return "image can't be pulled"
	case "ImagePullBackOff":
		return "trying and failing to pull image"
	}
	return reason
}
