package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os/signal"
	"strconv"
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
	listener, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer listener.Close()
	unlock, err := cfg.LockDataDir()
	if err != nil {
		return err
	}
	defer func() {
		if err := unlock(); err != nil {
			klog.FromContext(ctx).Error(err, "releasing the data directory")
		}
	}()
	return runCluster(ctx, cfg, listener)
}

func setVerbosity(v int) error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", strconv.Itoa(v)); err != nil {
		return &config.Error{Key: "v", Problem: err.Error(), Remedy: "give a number from 0 to 10"}
	}
	return nil
}

func listen(ctx context.Context, cfg *config.Config) (net.Listener, error) {
	address := net.JoinHostPort(cfg.BindAddress, strconv.Itoa(cfg.Port))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &config.Error{Key: "port", Problem: address + " is in use", Remedy: "stop what listens there, or give another port with --port (0 takes any free one)"}
	case errors.Is(err, syscall.EACCES):
		return nil, &config.Error{Key: "port", Problem: address + " needs more privilege", Remedy: "give a port above 1023 with --port"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, &config.Error{Key: "bind-address", Problem: cfg.BindAddress + " is not an address of this host", Remedy: "give one that is, or 0.0.0.0 for all"}
	case err != nil:
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return l, nil
}
