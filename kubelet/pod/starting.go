package pod

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// start pulls, creates and starts a container and runs its postStart hook. What goes wrong becomes the reason for which the
// container waits.
func (w *worker) start(ctx context.Context, pod *corev1.Pod, step Step) {
	spec := container(pod, step.Container)
	if spec == nil {
		return
	}
	err := w.startContainer(ctx, pod, spec, step)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		delete(w.memory.Failures, step.Container)
		return
	}
	var wait *WaitError
	if !errors.As(err, &wait) {
		wait = &WaitError{Reason: CreateContainerError, Message: err.Error()}
	}
	if wait.Retry.IsZero() && wait.Reason != PostStartHookError {
		wait.waited = configFirst
		if last := w.memory.Failures[step.Container]; last != nil && last.Reason == wait.Reason {
			wait.waited = min(2*last.waited, configMost)
		}
		wait.Retry = time.Now().Add(wait.waited)
	}
	w.memory.Failures[step.Container] = wait
}

func (w *worker) startContainer(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, step Step) error {
	sandbox := w.deps.Host.Sandbox(pod, w.sandboxAttempt(step.ID), "")
	volumes, err := w.imageVolumes(ctx, pod, spec, sandbox)
	if err != nil {
		return err
	}
	image, err := w.deps.Images.Ensure(ctx, pod, spec, sandbox)
	if err != nil {
		return err
	}
	if err := w.admit(ctx, pod); err != nil {
		return w.refuse(ctx, pod, spec, CreateContainerError, err)
	}
	config, err := w.configure(ctx, pod, spec, step, materials{image, volumes})
	if err != nil {
		return w.refuse(ctx, pod, spec, CreateContainerConfigError, err)
	}
	parent, err := w.deps.Cgroups.Ensure(pod)
	if err != nil {
		return w.refuse(ctx, pod, spec, CreateContainerError, err)
	}
	sandbox.Linux.CgroupParent = parent
	id, err := w.create(ctx, step.ID, config, sandbox)
	if err != nil {
		return w.refuse(ctx, pod, spec, CreateContainerError, err)
	}
	w.deps.Recorder.Event(pod, spec.Name, corev1.EventTypeNormal, "Created", "Container created")
	if !step.Previous.IsZero() {
		w.mu.Lock()
		w.memory.Restarts[spec.Name] = w.memory.Restarts[spec.Name].Next(step.Previous, time.Now())
		w.mu.Unlock()
	}
	if err := w.deps.Runtime.StartContainer(ctx, id); err != nil {
		return w.refuse(ctx, pod, spec, RunContainerError, err)
	}
	w.deps.Recorder.Event(pod, spec.Name, corev1.EventTypeNormal, "Started", "Container started")
	w.poke()
	return w.postStart(ctx, pod, spec, id)
}

// create creates a container. The runtime mounts an image when the first of a sandbox's containers wants it and takes no care
// of two that come at once, so those that mount images come one after the other.
func (w *worker) create(ctx context.Context, sandbox string, config *cri.ContainerConfig, of *cri.SandboxConfig) (string, error) {
	if config.Annotations[cri.AnnotationImageVolumes] != "" {
		w.imageMounts.Lock()
		defer w.imageMounts.Unlock()
	}
	return w.deps.Runtime.CreateContainer(ctx, sandbox, config, of)
}

// admitPatience bounds the wait for the network to judge a pod's packets: a node that can't do it says so and tries again.
const admitPatience = 10 * time.Second

// admit waits until the packets of a pod with addresses of its own are judged.
func (w *worker) admit(ctx context.Context, pod *corev1.Pod) error {
	if w.deps.Network == nil || pod.Spec.HostNetwork {
		return nil
	}
	w.mu.Lock()
	ips := w.ips()
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, admitPatience)
	defer cancel()
	return w.deps.Network.Admit(ctx, pod, ips)
}

// refuse tells users that a container could not be made and answers the reason for which it waits.
func (w *worker) refuse(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, reason string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	w.deps.Recorder.Event(pod, spec.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	return &WaitError{Reason: reason, Message: err.Error()}
}

// materials are the images that a container is made from: its own and those that it mounts.
type materials struct {
	image   string
	volumes imageVolumes
}

// configure makes the container's configuration from the world as it is now.
func (w *worker) configure(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, step Step, have materials) (*cri.ContainerConfig, error) {
	found, present, err := w.deps.Runtime.Image(ctx, have.image)
	if err != nil {
		return nil, err
	}
	if present {
		if err := verifyNonRoot(pod, spec, found.UID, found.User); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	ips := w.ips()
	target := w.target(pod, spec)
	w.mu.Unlock()
	first := ""
	if len(ips) > 0 {
		first = ips[0]
	}
	env, err := w.deps.Environment.Environment(ctx, pod, spec, first, ips)
	if err != nil {
		return nil, err
	}
	vars := map[string]string{}
	for _, e := range env {
		vars[e.Name] = e.Value
	}
	mounts, err := w.mounts(ctx, pod, spec, containerGiven{step.Attempt, vars, have.volumes})
	if err != nil {
		return nil, err
	}
	devices, err := w.devices(pod, spec)
	if err != nil {
		return nil, err
	}
	return containerInput{
		pod: pod, spec: spec, host: w.deps.Host, attempt: step.Attempt, image: have.image, env: env, mounts: mounts, devices: devices, target: target,
	}.config(), nil
}

// target is the container whose processes an ephemeral container asked to see. mu is held.
func (w *worker) target(pod *corev1.Pod, spec *corev1.Container) string {
	for _, e := range pod.Spec.EphemeralContainers {
		if e.Name == spec.Name && e.TargetContainerName != "" {
			if c := w.seen.latest(e.TargetContainerName, ""); c != nil {
				return c.ID
			}
		}
	}
	return ""
}

func (w *worker) sandboxAttempt(id string) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen.Sandboxes {
		if s.ID == id {
			return s.Attempt
		}
	}
	return 0
}

// postStart runs the hook of a container that has just started. A container whose hook fails is killed, to be restarted as its
// policy says.
func (w *worker) postStart(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, id string) error {
	if spec.Lifecycle == nil || spec.Lifecycle.PostStart == nil {
		return nil
	}
	err := w.hook(ctx, pod, spec, id, spec.Lifecycle.PostStart)
	if err == nil || ctx.Err() != nil {
		return err
	}
	w.deps.Recorder.Event(pod, spec.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	w.deps.Recorder.Event(pod, spec.Name, corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
	if stop := w.deps.Runtime.StopContainer(ctx, id, grace(pod)); stop != nil {
		err = errors.Join(err, stop)
	}
	return &WaitError{Reason: PostStartHookError, Message: fmt.Sprintf("PostStartHookError: %v", err)}
}
