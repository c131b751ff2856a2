package hollow

import (
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
	"skiff/kubelet/status"
)

// Annotations by which users say what simulated pods and nodes do. They may be changed at any time.
const (
	// ExitAnnotation on a pod is the exit code with which its containers end, as far as its restart policy lets the pod end;
	// "never" keeps a Job's pod running.
	ExitAnnotation = "skiff.dev/simulated-exit"
	// ReadyAnnotation on a pod is "false" when its containers aren't ready.
	ReadyAnnotation = "skiff.dev/simulated-ready"
	// EvictedAnnotation on a pod is "true" when its node fails it, whatever its restart policy.
	EvictedAnnotation = "skiff.dev/simulated-evicted"
	// SilentAnnotation on a node is "true" when it is cut off: its lease isn't renewed and its pods change nothing.
	SilentAnnotation = "skiff.dev/simulated-silent"
)

// killed is the exit code of a container that SIGKILL ended.
const killed = 137

// fate is what becomes of a pod.
type fate struct {
	phase  corev1.PodPhase
	code   int32
	reason string // why the node failed the pod, if it did
	ready  bool
}

func (f fate) ended() bool { return f.phase != corev1.PodRunning }

// decide answers what a pod has come to. A phase that is an end stays.
func decide(p *corev1.Pod) fate {
	out := fate{phase: corev1.PodRunning, ready: p.Annotations[ReadyAnnotation] != "false"}
	switch phase := p.Status.Phase; {
	case phase == corev1.PodSucceeded || phase == corev1.PodFailed:
		out.phase, out.reason = phase, p.Status.Reason
		for _, c := range p.Status.ContainerStatuses {
			if end := c.State.Terminated; end != nil && end.ExitCode != 0 {
				out.code = end.ExitCode
			}
		}
		return out
	case p.Annotations[EvictedAnnotation] == "true":
		out.phase, out.code, out.reason = corev1.PodFailed, killed, "Evicted"
		return out
	}
	if code, ends := exit(p); ends {
		out.phase, out.code = corev1.PodSucceeded, code
		if code != 0 {
			out.phase = corev1.PodFailed
		}
	}
	return out
}

// exit is the code with which the pod's containers end for good, if they do. Those of Jobs end well at once.
func exit(p *corev1.Pod) (code int32, ends bool) {
	owner := metav1.GetControllerOf(p)
	ends = owner != nil && owner.Kind == "Job"
	if said, ok := p.Annotations[ExitAnnotation]; ok {
		n, err := strconv.ParseInt(said, 10, 32)
		code, ends = int32(n), err == nil
	}
	switch p.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return code, ends
	case corev1.RestartPolicyOnFailure:
		return code, ends && code == 0
	default:
		return code, false
	}
}

func (n *Nodes) status(p *corev1.Pod) corev1.PodStatus {
	f := decide(p)
	over := p.DeletionTimestamp != nil || f.ended()
	in := status.Input{
		Pod: p, Sandbox: &cri.Sandbox{ID: string(p.UID), Ready: !over, IPs: []string{n.ip(p)}}, Phase: f.phase, Initialized: true,
		Over: over, HostIPs: []string{"127.0.0.1"}, Runtime: "simulated", Now: n.clock.Now(), Reason: f.reason, Health: map[string]status.Health{},
	}
	if over && !f.ended() { // deleted
		in.Phase = corev1.PodSucceeded
		if p.Spec.RestartPolicy != corev1.RestartPolicyAlways { // what is killed at its work has not done it
			in.Phase, f.code = corev1.PodFailed, killed
		}
	}
	started := p.CreationTimestamp.Time
	for _, c := range p.Spec.InitContainers {
		in.Containers = append(in.Containers, n.container(p, c, started, 0, c.RestartPolicy != nil && !over))
	}
	for _, c := range p.Spec.Containers {
		made := n.container(p, c, started, f.code, !over)
		in.Containers = append(in.Containers, made)
		in.Health[made.ID] = status.Health{Started: true, Ready: f.ready}
	}
	return status.Compute(in)
}

func (n *Nodes) container(p *corev1.Pod, c corev1.Container, started time.Time, code int32, runs bool) cri.Container {
	out := cri.Container{ID: string(p.UID) + "-" + c.Name, Name: c.Name, Image: c.Image, ImageRef: c.Image, State: cri.Running, Created: started, Started: started}
	if runs {
		return out
	}
	out.State, out.Finished, out.ExitCode, out.Reason = cri.Exited, n.finished(p, c.Name), code, "Completed"
	if code != 0 {
		out.Reason = "Error"
	}
	return out
}

// finished is when a container that has ended did so: now, if its status doesn't say yet.
func (n *Nodes) finished(p *corev1.Pod, container string) time.Time {
	for _, c := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
		if c.Name == container && c.State.Terminated != nil {
			return c.State.Terminated.FinishedAt.Time
		}
	}
	return n.clock.Now()
}
