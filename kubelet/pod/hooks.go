package pod

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
	"skiff/kubelet/probes"
)

// hook runs a lifecycle handler of a running container until it is done or ctx ends.
func (w *worker) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, handler *corev1.LifecycleHandler) error {
	switch {
	case handler.Exec != nil:
		out, errOut, code, err := w.deps.Runtime.ExecSync(ctx, id, handler.Exec.Command, 0)
		if err != nil {
			return fmt.Errorf("running the hook of container %s: %w", c.Name, err)
		}
		if code != 0 {
			return fmt.Errorf("command '%s' exited with %d: %s%s", handler.Exec.Command, code, errOut, out)
		}
		return nil
	case handler.HTTPGet != nil:
		w.mu.Lock()
		ips := w.ips()
		w.mu.Unlock()
		return probes.Get(ctx, probes.Request{Pod: pod, Container: c, PodIPs: ips, Action: handler.HTTPGet, UserAgent: "kube-lifecycle/1.37"})
	case handler.Sleep != nil:
		timer := time.NewTimer(time.Duration(handler.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("invalid handler: %v", handler)
}

// preStop is the handler to run before a container ends: its spec's, or the one that it was created with when its pod is gone.
func preStop(pod *corev1.Pod, c cri.Container) *corev1.LifecycleHandler {
	if spec := container(pod, c.Name); spec != nil {
		if spec.Lifecycle == nil {
			return nil
		}
		return spec.Lifecycle.PreStop
	}
	text := c.Annotations[cri.AnnotationPreStop]
	if text == "" {
		return nil
	}
	handler := &corev1.LifecycleHandler{}
	if err := json.Unmarshal([]byte(text), handler); err != nil {
		return nil
	}
	return handler
}
