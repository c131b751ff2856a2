package kubelet

import (
	"context"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
	"skiff/kubelet/server"
)

// Pods answers the node's pods with their present status.
func (k *Kubelet) Pods() []*corev1.Pod { return k.pods.Pods() }

// Pod finds one of the node's pods.
func (k *Kubelet) Pod(namespace, name string) (*corev1.Pod, bool) { return k.pods.Pod(namespace, name) }

// Exec prepares a command in a running container and answers the URL to stream it at.
func (k *Kubelet) Exec(ctx context.Context, target server.StreamTarget, command []string, options server.StreamOptions) (*url.URL, error) {
	c, err := k.running(target)
	if err != nil {
		return nil, err
	}
	return parse(k.deps.Runtime.Exec(ctx, c.ID, command, streams(options)))
}

// Attach answers the URL to stream a running container's own input and output at.
func (k *Kubelet) Attach(ctx context.Context, target server.StreamTarget, options server.StreamOptions) (*url.URL, error) {
	c, err := k.running(target)
	if err != nil {
		return nil, err
	}
	return parse(k.deps.Runtime.Attach(ctx, c.ID, streams(options)))
}

// PortForward answers the URL to stream connections to a pod's ports at.
func (k *Kubelet) PortForward(ctx context.Context, namespace, name string, ports []int32) (*url.URL, error) {
	p, ok := k.pods.Pod(namespace, name)
	if !ok {
		return nil, fmt.Errorf("pod does not exist")
	}
	sandbox, ok := k.pods.Sandbox(p.UID)
	if !ok {
		return nil, fmt.Errorf("unable to do port forwarding: pod is not running. Current status=%s", p.Status.Phase)
	}
	return parse(k.deps.Runtime.PortForward(ctx, sandbox.ID, ports))
}

// RunInContainer runs a command to its end and answers what it wrote.
func (k *Kubelet) RunInContainer(ctx context.Context, target server.StreamTarget, command []string) ([]byte, error) {
	c, err := k.running(target)
	if err != nil {
		return nil, err
	}
	out, errOut, code, err := k.deps.Runtime.ExecSync(ctx, c.ID, command, 0)
	out = append(out, errOut...)
	if err == nil && code != 0 {
		err = fmt.Errorf("command terminated with exit code %d", code)
	}
	return out, err
}

// ContainerLog finds a container's log file; with previous, that of the instance before. running says whether the container may
// still write to it.
func (k *Kubelet) ContainerLog(_ context.Context, target server.StreamTarget, previous bool) (string, func() bool, error) {
	p, ok := k.pods.Pod(target.Namespace, target.Pod)
	if !ok {
		return "", nil, fmt.Errorf("pod %q not found", target.Pod)
	}
	c, ok := k.pods.Container(p.UID, target.Container, previous)
	switch {
	case !ok && previous:
		return "", nil, fmt.Errorf("previous terminated container %q in pod %q not found", target.Container, target.Pod)
	case !ok:
		return "", nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", target.Container, target.Pod, waitingReason(p, target.Container))
	}
	return c.LogPath, func() bool { return k.runs(p, c) }, nil
}

func (k *Kubelet) runs(p *corev1.Pod, c cri.Container) bool {
	now, ok := k.pods.Container(p.UID, c.Name, false)
	return ok && now.ID == c.ID && (now.State == cri.Running || now.State == cri.Created)
}

func waitingReason(p *corev1.Pod, container string) string {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, s := range list {
			if s.Name == container && s.State.Waiting != nil {
				return s.State.Waiting.Reason
			}
		}
	}
	return "ContainerCreating"
}

// running finds a container that runs; the pod's first one when the target names none.
func (k *Kubelet) running(target server.StreamTarget) (cri.Container, error) {
	p, ok := k.pods.Pod(target.Namespace, target.Pod)
	if !ok {
		return cri.Container{}, fmt.Errorf("pod does not exist")
	}
	if target.Container == "" && len(p.Spec.Containers) > 0 {
		target.Container = p.Spec.Containers[0].Name
	}
	c, ok := k.pods.Container(p.UID, target.Container, false)
	if !ok {
		return cri.Container{}, fmt.Errorf("container not found (%q)", target.Container)
	}
	return c, nil
}

func streams(o server.StreamOptions) cri.Streams {
	return cri.Streams{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY}
}

func parse(address string, err error) (*url.URL, error) {
	if err != nil {
		return nil, err
	}
	return url.Parse(address)
}
