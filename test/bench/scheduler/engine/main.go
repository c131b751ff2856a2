// The program engine runs skiff's scheduler in a process of its own, as kube-scheduler is one, so that both can be
// measured against the same API server. Go collects its garbage as it does kube-scheduler's; what only the start needed is
// given back, as in skiff:
//
//	engine KUBECONFIG [PROFILES]
//
// Profiles of CPU and heap are left in PROFILES.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"skiff/internal/memory"
	"skiff/internal/slim"
	"skiff/scheduler"
	"skiff/test/bench/profile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	switch len(os.Args) {
	case 2:
	case 3:
		stop, err := profile.Start(os.Args[2])
		if err != nil {
			return fmt.Errorf("profiling: %w", err)
		}
		defer stop()
	default:
		return errors.New("usage: engine KUBECONFIG [PROFILES]")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType + ",application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim.Transform()))
	engine, err := scheduler.New(scheduler.Config{LeaderElection: true, Identity: "skiff"}, scheduler.Deps{Client: client, Informers: factory})
	if err != nil {
		return err
	}
	if err := os.Setenv("GOGC", "100"); err != nil { // so that nothing else paces
		return fmt.Errorf("choosing the collector's pace: %w", err)
	}
	factory.StartWithContext(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return memory.Settle(ctx) })
	group.Go(func() error { return engine.Run(ctx) })
	return group.Wait()
}
