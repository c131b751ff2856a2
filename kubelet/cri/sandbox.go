package cri

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Sandbox is a pod's sandbox as the runtime reports it.
type Sandbox struct {
	ID, UID, Namespace, Name string
	// Attempt counts the sandboxes that the pod has had.
	Attempt uint32
	// Ready is false once the sandbox's process or network is gone.
	Ready   bool
	Created time.Time
	// IPs are the pod's addresses, the primary one first; none with the host's network. List doesn't fill them in.
	IPs         []string
	HostNetwork bool
	Labels      map[string]string
	Annotations map[string]string
}

// RunSandbox creates and starts a sandbox, its network included, and answers its id.
func (c *Client) RunSandbox(ctx context.Context, config *SandboxConfig, handler string) (string, error) {
	answer, err := c.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return "", plain(err)
	}
	return answer.GetPodSandboxId(), nil
}

// StopSandbox kills what still runs in the sandbox and takes down its network. A missing one is stopped.
func (c *Client) StopSandbox(ctx context.Context, id string) error {
	_, err := c.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return ignoreMissing(err, "stopping sandbox", id)
}

// RemoveSandbox removes a sandbox and its containers. A missing one is removed.
func (c *Client) RemoveSandbox(ctx context.Context, id string) error {
	_, err := c.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	return ignoreMissing(err, "removing sandbox", id)
}

// Sandboxes lists the sandboxes of one pod, or of all when uid is empty, without their addresses.
func (c *Client) Sandboxes(ctx context.Context, uid string) ([]Sandbox, error) {
	answer, err := c.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: ofPod(uid)}})
	if err != nil {
		return nil, fmt.Errorf("listing sandboxes: %w", plain(err))
	}
	out := make([]Sandbox, 0, len(answer.GetItems()))
	for _, item := range answer.GetItems() {
		m := item.GetMetadata()
		out = append(out, Sandbox{
			ID: item.GetId(), UID: m.GetUid(), Namespace: m.GetNamespace(), Name: m.GetName(), Attempt: m.GetAttempt(),
			Ready: item.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY, Created: at(item.GetCreatedAt()),
			Labels: item.GetLabels(), Annotations: item.GetAnnotations(),
		})
	}
	return out, nil
}

// Sandbox reads one sandbox with its addresses.
func (c *Client) Sandbox(ctx context.Context, id string) (Sandbox, error) {
	answer, err := c.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return Sandbox{}, fmt.Errorf("reading sandbox %s: %w", id, plain(err))
	}
	s := answer.GetStatus()
	m := s.GetMetadata()
	out := Sandbox{
		ID: s.GetId(), UID: m.GetUid(), Namespace: m.GetNamespace(), Name: m.GetName(), Attempt: m.GetAttempt(),
		Ready: s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY, Created: at(s.GetCreatedAt()),
		HostNetwork: s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
		Labels:      s.GetLabels(), Annotations: s.GetAnnotations(),
	}
	if ip := s.GetNetwork().GetIp(); ip != "" {
		out.IPs = append(out.IPs, ip)
	}
	for _, more := range s.GetNetwork().GetAdditionalIps() {
		out.IPs = append(out.IPs, more.GetIp())
	}
	return out, nil
}

func ofPod(uid string) map[string]string {
	if uid == "" {
		return nil
	}
	return map[string]string{LabelPodUID: uid}
}

func ignoreMissing(err error, doing, id string) error {
	if err == nil || IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, id, plain(err))
}
