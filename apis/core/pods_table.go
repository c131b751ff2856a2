package core

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"skiff/apis/resource"
)

func podColumns() []resource.Column[*corev1.Pod] {
	type pod = *corev1.Pod
	spec, status := corev1.PodSpec{}.SwaggerDoc(), corev1.PodStatus{}.SwaggerDoc()
	return []resource.Column[pod]{
		{Name: "Ready", Type: "string", Help: "The aggregate readiness state of this pod for accepting traffic.", Value: func(p pod) any { return summarize(p).readyText() }},
		{Name: "Status", Type: "string", Help: "The aggregate status of the containers in this pod.", Value: func(p pod) any { return summarize(p).reason }},
		{Name: "Restarts", Type: "string", Help: "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.", Value: func(p pod) any { return summarize(p).restartText() }},
		resource.AgeColumn[pod](),
		{Name: "IP", Type: "string", Priority: 1, Help: status["podIP"], Value: func(p pod) any { return orNone(firstIP(p)) }},
		{Name: "Node", Type: "string", Priority: 1, Help: spec["nodeName"], Value: func(p pod) any { return orNone(p.Spec.NodeName) }},
		{Name: "Nominated Node", Type: "string", Priority: 1, Help: status["nominatedNodeName"], Value: func(p pod) any { return orNone(p.Status.NominatedNodeName) }},
		{Name: "Readiness Gates", Type: "string", Priority: 1, Help: spec["readinessGates"], Value: readinessGates},
	}
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

func readinessGates(p *corev1.Pod) any {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		for _, c := range p.Status.Conditions {
			if c.Type == g.ConditionType && c.Status == corev1.ConditionTrue {
				met++
			}
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

// summary is a pod in a line of kubectl get.
type summary struct {
	reason          string
	ready, total    int
	restarts        int
	lastRestart     metav1.Time
	sidecarRestarts int
	lastSidecar     metav1.Time
}

func (s summary) readyText() string { return fmt.Sprintf("%d/%d", s.ready, s.total) }

func (s summary) restartText() string {
	if s.restarts == 0 || s.lastRestart.IsZero() {
		return fmt.Sprint(s.restarts)
	}
	ago := duration.HumanDuration(time.Since(s.lastRestart.Time))
	return fmt.Sprintf("%d (%s ago)", s.restarts, ago)
}

func summarize(p *corev1.Pod) summary {
	s := summary{reason: string(p.Status.Phase), total: len(p.Spec.Containers)}
	if p.Status.Reason != "" {
		s.reason = p.Status.Reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	initializing := s.countInit(p, sidecars)
	if !initializing || initialized(p) {
		s.countContainers(p)
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == "NodeLost":
			s.reason = "Unknown"
		case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded:
			s.reason = "Terminating"
		}
	}
	return s
}

func initialized(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodInitialized {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// countInit takes in the init containers; it reports whether one still keeps
// the pod from starting.
func (s *summary) countInit(p *corev1.Pod, sidecars map[string]bool) bool {
	for i, c := range p.Status.InitContainerStatuses {
		s.restarts += int(c.RestartCount)
		later(&s.lastRestart, c.LastTerminationState)
		if sidecars[c.Name] {
			s.sidecarRestarts += int(c.RestartCount)
			later(&s.lastSidecar, c.LastTerminationState)
		}
		t := c.State.Terminated
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case t != nil:
			s.reason = "Init:" + terminatedReason(t)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

// later moves t to the end of a container's last run, if that is later.
func later(t *metav1.Time, last corev1.ContainerState) {
	if last.Terminated != nil && t.Before(&last.Terminated.FinishedAt) {
		*t = last.Terminated.FinishedAt
	}
}

func terminatedReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

// countContainers takes in the containers; restarts are then those of the
// containers and sidecars alone.
func (s *summary) countContainers(p *corev1.Pod) {
	s.restarts, s.lastRestart = s.sidecarRestarts, s.lastSidecar
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := p.Status.ContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		later(&s.lastRestart, c.LastTerminationState)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = terminatedReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	// a pod is Completed only when nothing of it runs any more
	if s.reason == "Completed" && running {
		s.reason = "NotReady"
		if podReady(p) {
			s.reason = "Running"
		}
	}
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// podEnd tells that the pod will do nothing more.
func podEnd(p *corev1.Pod) []metav1.TableRowCondition {
	var text string
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		text = "The pod has completed successfully."
	case corev1.PodFailed:
		text = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase), Message: text}}
}
