package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
)

func execProbe(ctx context.Context, exec Exec, id string, command []string, timeout time.Duration) result {
	out, errOut, code, err := exec.ExecSync(ctx, id, command, timeout)
	output := string(append(out, errOut...))
	if len(output) > maxBody {
		output = output[:maxBody]
	}
	switch {
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timed out")):
		return result{output: fmt.Sprintf("command timed out: %q timed out after %v", strings.Join(command, " "), timeout)}
	case err != nil:
		return result{err: err}
	}
	return result{ok: code == 0, output: output}
}

func tcpProbe(ctx context.Context, action *corev1.TCPSocketAction, c *corev1.Container, ips []string, timeout time.Duration) result {
	number, err := port(action.Port, c)
	if err != nil {
		return result{err: err}
	}
	host := action.Host
	if host == "" {
		host = first(ips)
	}
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(number)))
	if err != nil {
		return result{output: err.Error()}
	}
	if err := conn.Close(); err != nil {
		return result{ok: true, output: err.Error()}
	}
	return result{ok: true}
}

func grpcProbe(ctx context.Context, action *corev1.GRPCAction, ips []string, timeout time.Duration) result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address := net.JoinHostPort(first(ips), strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"))
	if err != nil {
		return result{output: fmt.Sprintf("error: failed to connect service at %q: %v", address, err)}
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return result{output: fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", err)}
	case status.Code(err) == codes.DeadlineExceeded:
		return result{output: fmt.Sprintf("timeout: failed to connect service %q within %v: %v", address, timeout, context.DeadlineExceeded)}
	case err != nil:
		return result{output: fmt.Sprintf("error: health rpc failed: %v", err)}
	case answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return result{output: fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus().String())}
	}
	return result{ok: true}
}
