package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// holders keep ports from other programs. Packets don't reach them: the kernel sends those to the Service's endpoints.
type holders map[Claim]io.Closer

// keep lets go of what nobody wants.
func (h holders) keep(wishes []Wish) {
	wanted := map[Claim]bool{}
	for _, w := range wishes {
		for _, c := range w.Claims {
			wanted[c] = true
		}
	}
	for c, held := range h {
		if !wanted[c] {
			_ = held.Close()
			delete(h, c)
		}
	}
}

// hold takes all that a Service wants, or answers in a line what it can't have; it keeps nothing then.
func (h holders) hold(ctx context.Context, w Wish, node string) string {
	for _, c := range w.Claims {
		if h[c] != nil {
			continue
		}
		held, err := take(ctx, c)
		if err == nil {
			h[c] = held
			continue
		}
		for _, other := range w.Claims {
			if held := h[other]; held != nil {
				_ = held.Close()
				delete(h, other)
			}
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Sprintf("port %d/%s of node %s is in use: give the Service another port, or stop what listens there", c.Port, c.Protocol, node)
		}
		return fmt.Sprintf("taking port %d/%s of node %s: %s", c.Port, c.Protocol, node, err)
	}
	return ""
}

func take(ctx context.Context, c Claim) (io.Closer, error) {
	at := net.JoinHostPort(c.Address.String(), strconv.Itoa(int(c.Port)))
	switch c.Protocol {
	case corev1.ProtocolTCP:
		return new(net.ListenConfig).Listen(ctx, "tcp", at) //nolint:wrapcheck // hold says what it is about
	case corev1.ProtocolUDP:
		return new(net.ListenConfig).ListenPacket(ctx, "udp", at) //nolint:wrapcheck // hold says what it is about
	default:
		return io.NopCloser(nil), nil // no program here speaks SCTP without saying so
	}
}

func (h holders) close() {
	for _, held := range h {
		_ = held.Close()
	}
}
