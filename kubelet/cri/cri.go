// Package cri is the node's client of a container runtime and the only importer of k8s.io/cri-api.
//
// What the runtime reports comes as small types of this package (Sandbox, Container, Image, ...), with times as time.Time
// and states as booleans. What the node asks for is described in the API's own messages, exposed as aliases, since a
// translation would only repeat every field.
package cri

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage bounds one answer of the runtime, as upstream bounds it.
const maxMessage = 16 << 20

// Client speaks to one runtime. It is safe for concurrent use.
type Client struct {
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

// New makes a client of the unix socket at path. It connects when first used, and again whenever the runtime comes back.
func New(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// The runtime starts beside its clients, within a fraction of gRPC's own first pause of a second.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 25 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.WaitForReady(true)),
	)
	if err != nil {
		return nil, fmt.Errorf("making a client of the runtime at %s: %w", socket, err)
	}
	return &Client{conn: conn, runtime: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Status is what the runtime says of itself.
type Status struct {
	RuntimeReady, NetworkReady bool
	// Reason explains what isn't ready.
	Reason string
	// Handlers are the runtime classes' handlers that it knows; "" is the default one.
	Handlers []Handler
}

// Handler is one configured low-level runtime.
type Handler struct {
	Name                                    string
	RecursiveReadOnlyMounts, UserNamespaces bool
}

// Status asks whether the runtime can run pods.
func (c *Client) Status(ctx context.Context) (Status, error) {
	answer, err := c.runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return Status{}, fmt.Errorf("asking the runtime's status: %w", plain(err))
	}
	var out Status
	for _, condition := range answer.GetStatus().GetConditions() {
		switch condition.Type {
		case runtimeapi.RuntimeReady:
			out.RuntimeReady = condition.Status
		case runtimeapi.NetworkReady:
			out.NetworkReady = condition.Status
		default:
			continue
		}
		if !condition.Status {
			out.Reason = fmt.Sprintf("container runtime network not ready: %s=%t reason:%s message:%s",
				condition.Type, condition.Status, condition.Reason, condition.Message)
		}
	}
	for _, handler := range answer.GetRuntimeHandlers() {
		out.Handlers = append(out.Handlers, Handler{
			Name:                    handler.GetName(),
			RecursiveReadOnlyMounts: handler.GetFeatures().GetRecursiveReadOnlyMounts(),
			UserNamespaces:          handler.GetFeatures().GetUserNamespaces(),
		})
	}
	return out, nil
}

// Version answers the runtime's name and version, such as "containerd" and "v2.4.2".
func (c *Client) Version(ctx context.Context) (name, version string, err error) {
	answer, err := c.runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", "", fmt.Errorf("asking the runtime's version: %w", plain(err))
	}
	return answer.GetRuntimeName(), answer.GetRuntimeVersion(), nil
}

// IsNotFound reports whether err says that the sandbox, container or image doesn't exist.
func IsNotFound(err error) bool { return status.Code(unwrapAll(err)) == codes.NotFound }

func unwrapAll(err error) error {
	for err != nil {
		if p, ok := err.(*callError); ok {
			return p.cause
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
	return err
}

// callError is a failed call, whose text people read in events: upstream shows it with its code in front.
type callError struct{ cause error }

// Error is the text as gRPC prints it.
func (e *callError) Error() string { return e.cause.Error() }

// Unwrap gives the gRPC error.
func (e *callError) Unwrap() error { return e.cause }

// plain keeps the error's code recognisable and its cancellation comparable with context's errors.
func plain(err error) error {
	switch status.Code(err) {
	case codes.Canceled:
		return fmt.Errorf("%w: %s", context.Canceled, status.Convert(err).Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %s", context.DeadlineExceeded, status.Convert(err).Message())
	}
	return &callError{err}
}

// at translates the API's nanoseconds; zero stays the zero time.
func at(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}
