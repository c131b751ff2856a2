package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
)

// Waits after a failure of the pod as a whole, doubling.
const (
	failFirst = 500 * time.Millisecond
	failMost  = 30 * time.Second
)

// The waits before a container that could not be made is tried again, doubling while the reason stays.
const (
	configFirst = time.Second
	configMost  = 20 * time.Second
)

// killing begins the names of steps that kill, which the end of a pod doesn't cancel.
const killing = "kill/"

// begin begins the plan's steps. mu is held.
func (w *worker) begin(ctx context.Context, plan Plan) {
	if plan.End != nil {
		for name, cancel := range w.cancels {
			if !strings.HasPrefix(name, killing) {
				cancel()
			}
		}
	}
	for _, step := range plan.Steps {
		w.step(ctx, step)
	}
}

// step begins one step. mu is held.
func (w *worker) step(ctx context.Context, step Step) {
	pod := w.pod
	switch step.Kind {
	case MountVolumes:
		w.busy.Mounting = true
		w.goCancel(ctx, "mount", func(ctx context.Context) { w.mount(ctx, pod) }, func() { w.busy.Mounting = false })
	case CreateSandbox:
		w.busy.Sandbox = true
		w.goCancel(ctx, "sandbox", func(ctx context.Context) { w.createSandbox(ctx, pod, step.Attempt) }, func() { w.busy.Sandbox = false })
	case StartContainer:
		w.busy.Starting[step.Container] = true
		w.goCancel(ctx, "start/"+step.Container, func(ctx context.Context) { w.start(ctx, pod, step) }, func() { delete(w.busy.Starting, step.Container) })
	case KillContainer:
		w.beginKill(ctx, pod, step)
	case StopSandbox, RemoveSandbox, RemoveContainer:
		w.busy.Removing[step.ID] = true
		w.goStep(func() { w.remove(ctx, step) }, func() { delete(w.busy.Removing, step.ID) })
	case CleanUp:
		w.busy.Cleaning = true
		w.goStep(func() { w.clean(ctx, pod) }, func() { w.busy.Cleaning = false })
	}
}

// goStep runs do, then done with mu held, and looks again.
func (w *worker) goStep(do, done func()) {
	w.steps.Go(func() {
		do()
		w.mu.Lock()
		done()
		w.mu.Unlock()
		w.poke()
	})
}

// goCancel is goStep for work that is cancelled when the pod ends.
func (w *worker) goCancel(ctx context.Context, name string, do func(context.Context), done func()) {
	ctx, cancel := context.WithCancel(ctx)
	w.cancels[name] = cancel
	w.goStep(func() { do(ctx) }, func() {
		cancel()
		delete(w.cancels, name)
		done()
	})
}

// mount makes the volumes ready.
func (w *worker) mount(ctx context.Context, pod *corev1.Pod) {
	paths, err := w.deps.Volumes.Mount(ctx, pod)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.deps.Recorder.Event(pod, "", corev1.EventTypeWarning, "FailedMount", err.Error())
		w.failed("FailedMount", err)
		return
	}
	if paths == nil {
		paths = map[string]string{}
	}
	w.mu.Lock()
	w.memory.Volumes, w.memory.Sandbox = paths, nil
	w.mu.Unlock()
}

// createSandbox makes the pod's directories, cgroup and sandbox.
func (w *worker) createSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32) {
	if attempt > 0 {
		w.deps.Recorder.Event(pod, "", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	err := w.runSandbox(ctx, pod, attempt)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.deps.Recorder.Event(pod, "", corev1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		w.failed("CreatePodSandboxError", err)
		return
	}
	w.mu.Lock()
	w.memory.Sandbox = nil
	w.mu.Unlock()
}

func (w *worker) runSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32) error {
	handler, err := w.handler(pod)
	if err != nil {
		return err
	}
	if err := w.prepare(pod); err != nil {
		return err
	}
	parent, err := w.deps.Cgroups.Ensure(pod)
	if err != nil {
		return err
	}
	_, err = w.deps.Runtime.RunSandbox(ctx, w.deps.Host.Sandbox(pod, attempt, parent), handler)
	return err
}

// handler is the runtime that the pod's class names; the default one is "".
func (w *worker) handler(pod *corev1.Pod) (string, error) {
	class := pod.Spec.RuntimeClassName
	if class == nil || *class == "" {
		return "", nil
	}
	if w.deps.Handler == nil {
		return "", fmt.Errorf("RuntimeClass %q is not known to this node", *class)
	}
	return w.deps.Handler(*class)
}

func (w *worker) prepare(pod *corev1.Pod) error {
	for _, dir := range []string{w.deps.Host.Dir(pod), w.deps.Host.LogDir(pod)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the pod's directories: %w", err)
		}
	}
	for _, c := range containers(pod) {
		if err := os.MkdirAll(filepath.Join(w.deps.Host.LogDir(pod), c.Name), 0o755); err != nil {
			return fmt.Errorf("making the log directory of container %s: %w", c.Name, err)
		}
	}
	return nil
}

// failed notes that a step of the pod as a whole failed and when to try again.
func (w *worker) failed(reason string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := failFirst
	if last := w.memory.Sandbox; last != nil {
		wait = min(2*last.waited, failMost)
	}
	w.memory.Sandbox = &WaitError{Reason: reason, Message: err.Error(), Retry: time.Now().Add(wait), waited: wait}
}

// remove does the steps that take things away.
func (w *worker) remove(ctx context.Context, step Step) {
	var err error
	switch step.Kind {
	case StopSandbox:
		if err = w.deps.Runtime.StopSandbox(ctx, step.ID); err == nil {
			w.mu.Lock()
			w.memory.Stopped[step.ID] = true
			w.mu.Unlock()
		}
	case RemoveSandbox:
		err = w.deps.Runtime.RemoveSandbox(ctx, step.ID)
	case RemoveContainer:
		err = w.deps.Runtime.RemoveContainer(ctx, step.ID)
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Could not take down a part of a pod", "pod", klog.KObj(w.object()))
		w.pause(ctx)
	}
}

// pause keeps a failing step busy for a moment, so that it isn't tried again at once.
func (w *worker) pause(ctx context.Context) {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// clean unmounts the volumes and removes the cgroup.
func (w *worker) clean(ctx context.Context, pod *corev1.Pod) {
	err := errors.Join(w.deps.Volumes.Unmount(ctx, pod.UID), w.deps.Cgroups.Remove(pod.UID))
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		// The first attempt may meet what the runtime is still taking down.
		if ctx.Err() == nil && !w.memory.CleanFailed.IsZero() {
			klog.FromContext(ctx).Error(err, "Could not clean up after a pod", "pod", klog.KObj(pod))
		}
		w.memory.CleanFailed = time.Now()
		return
	}
	w.memory.Cleaned, w.memory.Volumes = true, nil
}

// beginKill stops a container; mu is held. A kill that is under way gives way to one with less time.
func (w *worker) beginKill(ctx context.Context, pod *corev1.Pod, step Step) {
	key := killing + step.ID
	if cancel := w.cancels[key]; cancel != nil {
		cancel()
	} else {
		message := step.Message
		if message == "" {
			message = "Stopping container " + step.Container
		}
		w.deps.Recorder.Event(pod, step.Container, corev1.EventTypeNormal, "Killing", message)
	}
	until := time.Now().Add(step.Grace)
	w.busy.Killing[step.ID] = until
	ctx, cancel := context.WithCancel(ctx)
	w.cancels[key] = cancel
	seen := w.seen
	w.goStep(func() { w.kill(ctx, pod, seen, step) }, func() {
		cancel()
		if w.busy.Killing[step.ID].Equal(until) {
			delete(w.busy.Killing, step.ID)
			delete(w.cancels, key)
		}
	})
}

// kill runs the preStop hook and stops the container, together within the grace period.
func (w *worker) kill(ctx context.Context, pod *corev1.Pod, seen Seen, step Step) {
	begun := time.Now()
	left := step.Grace
	for _, c := range seen.Containers {
		if c.ID != step.ID || left == 0 {
			continue
		}
		if handler := preStop(pod, c); handler != nil {
			w.runPreStop(ctx, pod, c, handler, left)
			left = max(left-time.Since(begun), minimumGrace)
		}
	}
	if err := w.deps.Runtime.StopContainer(ctx, step.ID, left); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Could not stop a container", "pod", klog.KObj(pod), "container", step.Container)
		w.pause(ctx)
	}
}

func (w *worker) runPreStop(ctx context.Context, pod *corev1.Pod, c cri.Container, handler *corev1.LifecycleHandler, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	spec := container(pod, c.Name)
	if spec == nil {
		spec = &corev1.Container{Name: c.Name}
	}
	if err := w.hook(ctx, pod, spec, c.ID, handler); err != nil && ctx.Err() == nil {
		w.deps.Recorder.Event(pod, c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}
