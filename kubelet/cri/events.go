package cri

import (
	"context"
	"errors"
	"fmt"
	"io"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Event says that something happened to a pod's sandbox or container. It names the pod only: what is true now must be read.
type Event struct {
	UID, ContainerID string
}

// Events calls each for every event until the stream breaks or ctx ends. It answers nil only when ctx has ended. Events before
// the call, and between two calls, are lost: the caller reads everything once after started.
func (c *Client) Events(ctx context.Context, started func(), each func(Event)) error {
	stream, err := c.runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return eventsError(ctx, err)
	}
	if started != nil {
		started()
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return eventsError(ctx, err)
		}
		each(Event{UID: event.GetPodSandboxStatus().GetMetadata().GetUid(), ContainerID: event.GetContainerId()})
	}
}

func eventsError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("following the runtime's events: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("following the runtime's events: %w", plain(err))
}
