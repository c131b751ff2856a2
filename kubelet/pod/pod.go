// Package pod runs pods: a pure machine decides, one worker per pod applies.
//
//	           ┌────────── sandbox lost ─────────┐
//	           ▼                                 │
//	mount ─► sandbox ─► init 1..n ─► containers ─┤
//	           (sidecars start in their place    │ deleted, evicted, deadline passed,
//	            among the init containers)       │ every container done for good
//	                                             ▼
//	gone ◄─ clean up ◄─ status, API delete ◄─ kill containers, then sidecars from last to first, then the sandbox
//
// Next maps an Input - the pod as the API has it, what the runtime reports, what probes found, what the worker remembers, what
// is under way and the time - to a Plan: the steps to begin now and when to look again. It keeps no state, so a restart of the
// process continues where it was. The worker observes, calls Next, begins the steps, writes the status, and waits for an event:
// of the runtime, of the API, of a probe, of a finished step, or of the clock.
package pod

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/cri"
)

// Volumes makes the volumes of pods ready.
type Volumes interface {
	// Mount makes every volume of the pod ready and answers its host path by volume name. It is idempotent.
	Mount(ctx context.Context, pod *corev1.Pod) (map[string]string, error)
	// Subpath resolves subPath below a volume safely, creating it when it is missing.
	Subpath(ctx context.Context, pod *corev1.Pod, container string, index int, volumePath, subPath string) (string, error)
	// Unmount removes everything of the pod. It is idempotent.
	Unmount(ctx context.Context, uid types.UID) error
}

// Environment computes containers' environment variables.
type Environment interface {
	Environment(ctx context.Context, pod *corev1.Pod, container *corev1.Container, podIP string, podIPs []string) ([]corev1.EnvVar, error)
}

// Images makes images present.
type Images interface {
	// Ensure answers what the runtime knows the container's image as. Its error is a *WaitError.
	Ensure(ctx context.Context, pod *corev1.Pod, container *corev1.Container, sandbox *cri.SandboxConfig) (string, error)
}

// Cgroups makes the cgroups that pods' containers live in.
type Cgroups interface {
	// Ensure makes the pod's cgroup with its limits and answers the parent to give to the runtime.
	Ensure(pod *corev1.Pod) (string, error)
	// Remove removes the pod's cgroup. It is idempotent.
	Remove(uid types.UID) error
}

// Network has pods' packets judged.
type Network interface {
	// Admit waits until the pod's packets are judged as they must be, now that it has these addresses. It is idempotent.
	Admit(ctx context.Context, pod *corev1.Pod, ips []string) error
	// Hold says that the pod has these addresses, without waiting for anything. It is idempotent.
	Hold(pod *corev1.Pod, ips []string)
	// Release says that nothing of the pod runs any more, so that it has no address. It is idempotent.
	Release(pod *corev1.Pod)
}

// Recorder takes what users see as events. container is empty for the pod as a whole.
type Recorder interface {
	Event(pod *corev1.Pod, container, kind, reason, message string)
}

// Statuses writes pods' status to the API.
type Statuses interface {
	// Set queues the status. final says that nothing of the pod runs any more, so that a pod being deleted may go.
	Set(pod *corev1.Pod, status corev1.PodStatus, final bool)
	// Forget drops what is known about a pod that no longer exists.
	Forget(uid types.UID)
}

// WaitError is why a container can't start now: what its status shows as the waiting reason and message.
type WaitError struct {
	Reason, Message string
	// Retry is when another attempt makes sense.
	Retry time.Time
	// waited is how long the failure was to be waited for.
	waited time.Duration
}

// Error is the message after its reason.
func (e *WaitError) Error() string { return e.Reason + ": " + e.Message }

// Waiting reasons that users know.
const (
	CreateContainerConfigError = "CreateContainerConfigError"
	CreateContainerError       = "CreateContainerError"
	RunContainerError          = "RunContainerError"
	PostStartHookError         = "PostStartHookError"
	CrashLoopBackOff           = "CrashLoopBackOff"
	ContainerCreating          = "ContainerCreating"
	PodInitializing            = "PodInitializing"
)
