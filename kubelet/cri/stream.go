package cri

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Streams says which of a session's streams are connected. With TTY, stderr is part of stdout.
type Streams struct{ Stdin, Stdout, Stderr, TTY bool }

// ExecSync runs a command in a container and answers what it wrote and its exit code. err is set when it could not be run or
// the timeout (none when zero) passed.
func (c *Client) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (stdout, stderr []byte, code int32, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout+2*time.Second)
		defer cancel()
	}
	answer, err := c.runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{
		ContainerId: id, Cmd: command, Timeout: int64((timeout + time.Second - 1) / time.Second),
	})
	if err != nil {
		return nil, nil, 0, plain(err)
	}
	return answer.GetStdout(), answer.GetStderr(), answer.GetExitCode(), nil
}

// Exec prepares a command in a container and answers the URL to stream it at.
func (c *Client) Exec(ctx context.Context, id string, command []string, streams Streams) (string, error) {
	answer, err := c.runtime.Exec(ctx, &runtimeapi.ExecRequest{
		ContainerId: id, Cmd: command, Stdin: streams.Stdin, Stdout: streams.Stdout, Stderr: streams.Stderr && !streams.TTY, Tty: streams.TTY,
	})
	if err != nil {
		return "", fmt.Errorf("preparing exec in container %s: %w", id, plain(err))
	}
	return answer.GetUrl(), nil
}

// Attach answers the URL to stream a container's own input and output at.
func (c *Client) Attach(ctx context.Context, id string, streams Streams) (string, error) {
	answer, err := c.runtime.Attach(ctx, &runtimeapi.AttachRequest{
		ContainerId: id, Stdin: streams.Stdin, Stdout: streams.Stdout, Stderr: streams.Stderr && !streams.TTY, Tty: streams.TTY,
	})
	if err != nil {
		return "", fmt.Errorf("preparing attach to container %s: %w", id, plain(err))
	}
	return answer.GetUrl(), nil
}

// PortForward answers the URL to stream connections to the sandbox's ports at.
func (c *Client) PortForward(ctx context.Context, sandbox string, ports []int32) (string, error) {
	answer, err := c.runtime.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: sandbox, Port: ports})
	if err != nil {
		return "", fmt.Errorf("preparing port forwarding to sandbox %s: %w", sandbox, plain(err))
	}
	return answer.GetUrl(), nil
}
