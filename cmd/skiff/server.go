package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"skiff/config"
)

func newServer() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "server",
		Short: "Run a server; SIGTERM ends it and leaves containers running",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if err := s.load(c.Flags()); err != nil {
				return err
			}
			return serve(ctx, &s.Config)
		},
	}
	s.bind(c.Flags())
	return c
}

// serve runs a server until ctx ends. What could refuse it is looked at before
// anything is written.
func serve(ctx context.Context, cfg *config.Config) error {
	if err := setVerbosity(cfg.Verbosity); err != nil {
		return err
	}
	if err := preflight(cfg); err != nil {
		return err
	}
	ports, err := listen(ctx, cfg)
	defer ports.close()
	if err != nil {
		return err
	}
	unlock, err := cfg.LockDataDir()
	if err != nil {
		return err
	}
	defer func() {
		if err := unlock(); err != nil {
			klog.FromContext(ctx).Error(err, "releasing the data directory")
		}
	}()
	return runCluster(ctx, cfg, ports)
}

func setVerbosity(v int) error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", strconv.Itoa(v)); err != nil {
		return &config.Error{Key: "v", Problem: err.Error(), Remedy: "give a number from 0 to 10"}
	}
	return nil
}

// ports are what the server listens on for others.
type ports struct {
	api     net.Listener
	kubelet net.Listener // nil without a node
	// http and https are the Ingresses', nil unless they were asked for.
	http, https net.Listener
}

func listen(ctx context.Context, cfg *config.Config) (p ports, err error) {
	if p.api, err = listenAt(ctx, "port", cfg.BindAddress, cfg.Port); err != nil || cfg.NoNode {
		return p, err
	}
	if p.kubelet, err = listenAt(ctx, "kubelet-port", cfg.BindAddress, cfg.KubeletPort); err != nil || !cfg.Ingress.Enabled {
		return p, err
	}
	if p.http, err = listenForIngress(ctx, "ingress-http-port", cfg.IngressHost(), cfg.Ingress.HTTPPort, cfg.Ingress.ChosenHTTP); err != nil {
		return p, err
	}
	p.https, err = listenForIngress(ctx, "ingress-https-port", cfg.IngressHost(), cfg.Ingress.HTTPSPort, cfg.Ingress.ChosenHTTPS)
	return p, err
}

// listenForIngress opens a port that was chosen. The default one is taken when there is something to serve: it is only
// looked at here, so that the user hears of who has it.
func listenForIngress(ctx context.Context, key, host string, port int, chosen bool) (net.Listener, error) {
	if port == 0 {
		return nil, nil //nolint:nilnil // none was asked for
	}
	l, err := listenAt(ctx, key, host, port)
	if chosen {
		return l, err
	}
	if err != nil {
		klog.FromContext(ctx).Info("Warning: Ingresses aren't served at their default port for now", "reason", err.Error())
		return nil, nil //nolint:nilnil,nilerr // it was told
	}
	return nil, l.Close()
}

// close closes what nothing has served; a listener that was served is closed already.
func (p ports) close() {
	for _, l := range []net.Listener{p.api, p.kubelet, p.http, p.https} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// listenAt opens the port that the key of the configuration names.
func listenAt(ctx context.Context, key, host string, port int) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	zero := "0 takes any free one"
	if strings.HasPrefix(key, "ingress-") {
		zero = "0 is none"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &config.Error{Key: key, Problem: address + " is in use", Remedy: fmt.Sprintf("stop what listens there, or give another port with --%s (%s)", key, zero)}
	case errors.Is(err, syscall.EACCES):
		return nil, &config.Error{Key: key, Problem: address + " needs more privilege", Remedy: fmt.Sprintf("give a port above 1023 with --%s", key)}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, &config.Error{Key: "bind-address", Problem: host + " is not an address of this host", Remedy: "give one that is, or 0.0.0.0 for all"}
	case err != nil:
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return l, nil
}
