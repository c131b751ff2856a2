package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"k8s.io/klog/v2"

	"skiff/ingress/proxy"
)

// port is one that is served while it is wanted; one whose listener was given, always.
type port struct {
	Port

	host   string
	secure bool
	proxy  *proxy.Proxy

	wanted bool
	failed string // the problem that was logged
	cancel context.CancelFunc
	ended  chan struct{} // nil if it isn't served; closed when that has ended
}

// open reports whether the port is served.
func (p *port) open() bool {
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// set takes the port or gives it back. It answers in a line why it can't be taken.
func (p *port) set(ctx context.Context, wanted bool) string {
	p.wanted = wanted || p.Listener != nil
	if p.open() == p.wanted {
		return ""
	}
	if !p.wanted {
		p.close()
		return ""
	}
	l, err := p.listener(ctx)
	if err != nil {
		problem := p.problem(err)
		if problem != p.failed {
			klog.FromContext(ctx).Info("The ingress can't listen", "problem", problem)
		}
		p.failed = problem
		return problem
	}
	p.failed = ""
	p.serve(ctx, l)
	return ""
}

func (p *port) listener(ctx context.Context) (net.Listener, error) {
	if l := p.Listener; l != nil && p.ended == nil {
		return l, nil
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(p.host, strconv.Itoa(p.Number))) //nolint:wrapcheck // problem does
}

func (p *port) problem(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("port %d of the node is in use: stop what listens there, or give the ingress another with --%s", p.Number, p.Flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("port %d of the node needs more privilege: give the ingress one above 1023 with --%s", p.Number, p.Flag)
	default:
		return fmt.Sprintf("listening at port %d of the node: %s: give the ingress another with --%s", p.Number, err, p.Flag)
	}
}

// serve serves the listener until close.
func (p *port) serve(ctx context.Context, l net.Listener) {
	logger := klog.FromContext(ctx)
	logger.Info("The ingress listens", "address", l.Addr().String(), "tls", p.secure)
	ctx, p.cancel = context.WithCancel(ctx)
	ended := make(chan struct{})
	p.ended = ended
	go func() { // close waits for it
		defer close(ended)
		if err := p.proxy.Serve(ctx, l, p.secure); err != nil {
			logger.Error(err, "The ingress does not listen any more")
		}
	}()
}

// close ends serving.
func (p *port) close() {
	if p.ended != nil {
		p.cancel()
		<-p.ended
		return
	}
	if p.Listener != nil {
		_ = p.Listener.Close()
	}
}
