package cri

import (
	"context"
	"fmt"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// State is where a container is in its life.
type State int

// The states of a container.
const (
	Unknown State = iota
	Created
	Running
	Exited
)

// Container is a container as the runtime reports it.
type Container struct {
	ID, SandboxID, Name string
	// Attempt is how often a container of this name was created before.
	Attempt uint32
	State   State
	// Image is the name that was asked for; ImageRef the resolved one (a repo digest or an image id).
	Image, ImageRef            string
	Created, Started, Finished time.Time
	ExitCode                   int32
	// Reason and Message are the runtime's: Completed, Error, OOMKilled, ContainerStatusUnknown...
	Reason, Message string
	LogPath         string
	// TerminationLog is the host path of the termination message file.
	TerminationLog string
	User           *User
	Labels         map[string]string
	Annotations    map[string]string
}

// User is the identity that a container's first process got.
type User struct {
	UID, GID           int64
	SupplementalGroups []int64
}

// RestartCount is the count in the container's annotations, or its attempt.
func (c Container) RestartCount() int32 {
	if n, err := strconv.ParseInt(c.Annotations[AnnotationRestartCount], 10, 32); err == nil {
		return int32(n)
	}
	return int32(c.Attempt)
}

// CreateContainer creates a container in a sandbox and answers its id.
func (c *Client) CreateContainer(ctx context.Context, sandbox string, config *ContainerConfig, of *SandboxConfig) (string, error) {
	answer, err := c.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: config, SandboxConfig: of})
	if err != nil {
		return "", plain(err)
	}
	return answer.GetContainerId(), nil
}

// StartContainer starts a created container.
func (c *Client) StartContainer(ctx context.Context, id string) error {
	if _, err := c.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		return plain(err)
	}
	return nil
}

// StopContainer sends the stop signal, and SIGKILL after grace. It returns when the container has ended.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := int64((grace + time.Second - 1) / time.Second)
	_, err := c.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: seconds})
	return ignoreMissing(err, "stopping container", id)
}

// RemoveContainer removes a container, killing it when it runs. A missing one is removed.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	_, err := c.runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	return ignoreMissing(err, "removing container", id)
}

// UpdateResources changes the limits of a running container.
func (c *Client) UpdateResources(ctx context.Context, id string, linux *LinuxContainerResources) error {
	if _, err := c.runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: linux}); err != nil {
		return fmt.Errorf("updating the resources of container %s: %w", id, plain(err))
	}
	return nil
}

// ReopenLog makes the runtime open the container's log file anew, after a rotation.
func (c *Client) ReopenLog(ctx context.Context, id string) error {
	if _, err := c.runtime.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		return fmt.Errorf("reopening the log of container %s: %w", id, plain(err))
	}
	return nil
}

// Containers lists the containers of one pod, or all when uid is empty. What only a status holds (exit code, times but
// Created, reason, log) is missing.
func (c *Client) Containers(ctx context.Context, uid string) ([]Container, error) {
	answer, err := c.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: ofPod(uid)}})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", plain(err))
	}
	out := make([]Container, 0, len(answer.GetContainers()))
	for _, item := range answer.GetContainers() {
		out = append(out, Container{
			ID: item.GetId(), SandboxID: item.GetPodSandboxId(), Name: item.GetMetadata().GetName(), Attempt: item.GetMetadata().GetAttempt(),
			State: state(item.GetState()), Image: item.GetImage().GetImage(), ImageRef: item.GetImageRef(), Created: at(item.GetCreatedAt()),
			Labels: item.GetLabels(), Annotations: item.GetAnnotations(),
		})
	}
	return out, nil
}

// Container reads one container's status. The sandbox's id isn't part of it.
func (c *Client) Container(ctx context.Context, id string) (Container, error) {
	answer, err := c.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return Container{}, fmt.Errorf("reading container %s: %w", id, plain(err))
	}
	s := answer.GetStatus()
	out := Container{
		ID: s.GetId(), Name: s.GetMetadata().GetName(), Attempt: s.GetMetadata().GetAttempt(), State: state(s.GetState()),
		Image: s.GetImage().GetImage(), ImageRef: s.GetImageRef(),
		Created: at(s.GetCreatedAt()), Started: at(s.GetStartedAt()), Finished: at(s.GetFinishedAt()),
		ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(), LogPath: s.GetLogPath(),
		Labels: s.GetLabels(), Annotations: s.GetAnnotations(),
	}
	if asked := s.GetImage().GetUserSpecifiedImage(); asked != "" {
		out.Image = asked
	}
	if user := s.GetUser().GetLinux(); user != nil {
		out.User = &User{UID: user.GetUid(), GID: user.GetGid(), SupplementalGroups: user.GetSupplementalGroups()}
	}
	path := out.Annotations[AnnotationTerminationPath]
	for _, mount := range s.GetMounts() {
		if path != "" && mount.GetContainerPath() == path {
			out.TerminationLog = mount.GetHostPath()
		}
	}
	return out, nil
}

func state(s runtimeapi.ContainerState) State {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return Exited
	}
	return Unknown
}
