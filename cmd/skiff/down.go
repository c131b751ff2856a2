package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"skiff/config"
)

// stopPatience is how long a server gets to end by itself.
const stopPatience = 20 * time.Second

func newDown() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "down",
		Short: "Stop the server of this data directory; containers and data stay",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.load(c.Flags()); err != nil {
				return err
			}
			stopped, err := stopServer(c.Context(), &s.Config)
			if err != nil {
				return err
			}
			if !stopped {
				_, err = fmt.Fprintln(c.OutOrStdout(), "no server is running")
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "stopped; containers keep running and data stays in %s (`skiff clean` removes all of it)\n", s.DataDir)
			return err
		},
	}
	s.bind(c.Flags())
	return c
}

// stopServer asks the server of the data directory to end and waits for it.
// It answers whether there was one.
func stopServer(ctx context.Context, cfg *config.Config) (bool, error) {
	pid, err := cfg.ServerPID()
	if err != nil || pid == 0 {
		return false, err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, fmt.Errorf("stopping the server (process %d): %w: run this as the user who started it", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	err = poll(ctx, 20*time.Millisecond, func() (bool, error) {
		now, err := cfg.ServerPID()
		return now != pid, err
	})
	if err != nil {
		return true, fmt.Errorf("the server (process %d) did not end within %s: look at its log, or end it with kill -9; it loses nothing", pid, stopPatience)
	}
	return true, nil
}

// poll calls done at once and then every interval until it answers true.
func poll(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// steps prints what has been done, each with the time it took.
type steps struct {
	out  io.Writer
	last time.Time
}

func (s *steps) done(name string) {
	now := time.Now()
	fmt.Fprintf(s.out, "  ok      %-18s %.3f s\n", name, now.Sub(s.last).Seconds())
	s.last = now
}
