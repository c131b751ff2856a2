// Package controllers runs the cluster's controllers under one manager.
//
// Each controller lives in its own folder and is one line of the list in list.go. They share the process's informers
// and meet only in the API; each writes under its own identity, system:serviceaccount:kube-system:NAME.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"skiff/controllers/certificates"
	"skiff/controllers/horizontalpodautoscaler"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/events"
	"skiff/controllers/nodecertificates"
	"skiff/controllers/nodelifecycle"
	"skiff/controllers/serviceaccounttoken"
)

// Config is how the controllers behave.
type Config struct {
	// ClusterCIDR is the range that nodes' pod addresses are taken from.
	ClusterCIDR netip.Prefix
	// LeaderElect makes several servers take turns by a Lease in kube-system.
	LeaderElect bool
	// NodeMonitorGrace is how long a running node may be silent, NodeStartupGrace a starting one.
	NodeMonitorGrace, NodeStartupGrace time.Duration
	// Reserved are the API server's names and addresses, which no node gets a certificate for.
	Reserved nodecertificates.Reserved
	// Autoscaling is how HorizontalPodAutoscalers behave that do not say otherwise.
	Autoscaling horizontalpodautoscaler.Config
}

// Default answers the configuration of v1.37's defaults.
func Default() Config {
	return Config{
		ClusterCIDR:      netip.MustParsePrefix("10.244.0.0/16"),
		NodeMonitorGrace: nodelifecycle.RunningGrace,
		NodeStartupGrace: nodelifecycle.StartingGrace,
		Autoscaling:      horizontalpodautoscaler.Default(),
	}
}

// Validate answers what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if !c.ClusterCIDR.IsValid() || c.ClusterCIDR != c.ClusterCIDR.Masked() {
		errs = append(errs, fmt.Errorf("cluster CIDR %s is not the start of a range", c.ClusterCIDR))
	}
	if c.NodeMonitorGrace <= 0 || c.NodeStartupGrace <= 0 {
		errs = append(errs, errors.New("the node grace periods must be positive"))
	}
	if err := c.Autoscaling.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Deps is what the controllers need.
type Deps struct {
	// ClientConfig answers a client configuration that acts as the user, a member of groups.
	ClientConfig func(user string, groups ...string) *rest.Config
	// Informers is the process's cache; the caller starts it after New.
	Informers informers.SharedInformerFactory
	// RootCA is the PEM bundle that verifies the API server.
	RootCA []byte
	// Tokens signs the tokens of token secrets; without it those secrets stay empty.
	Tokens serviceaccounttoken.Signer
	// Authority signs certificates; without it approved requests wait.
	Authority *certificates.Authority
	// Clock is the source of time; the real one if nil.
	Clock clock.Clock
	// Metrics is where metrics are shown; nil shows none.
	Metrics controller.Registry
}

// Controllers is the set of controllers.
type Controllers struct {
	manager manager.Manager
	events  *events.Sink
}

// New builds the controllers and registers their informers; it starts nothing.
func New(cfg Config, deps Deps) (*Controllers, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	if deps.Metrics == nil {
		deps.Metrics = metrics.NewKubeRegistry() // where nobody looks
	}
	mgr, err := newManager(cfg, deps)
	if err != nil {
		return nil, fmt.Errorf("building manager: %w", err)
	}
	c := &Controllers{manager: mgr, events: events.NewSink(deps.Clock)}
	for _, e := range list(cfg, deps) {
		env, err := environment(deps, c.events, e)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", e.account, err)
		}
		spec, err := e.build(env)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", e.account, err)
		}
		if err := controller.Add(mgr, spec, deps.Clock); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// newManager answers a manager without cache traffic, web servers or signal handling of its own.
func newManager(cfg Config, deps Deps) (manager.Manager, error) {
	yes, wait := true, time.Duration(-1)
	own := controller.Unlimited(deps.ClientConfig("system:kube-controller-manager"))
	return manager.New(own, manager.Options{
		Logger:                        klog.Background().WithName("controllers").V(2), // what it tells of each start and stop is of little use
		Metrics:                       server.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0",
		LeaderElection:                cfg.LeaderElect,
		LeaderElectionID:              "kube-controller-manager",
		LeaderElectionNamespace:       "kube-system",
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &wait, // Run returns when everything has ended, not before
		Controller:                    config.Controller{SkipNameValidation: &yes},
	})
}

func environment(deps Deps, sink *events.Sink, e entry) (controller.Env, error) {
	user := "system:serviceaccount:kube-system:" + e.account
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}
	if e.account == "" {
		user, groups = "system:kube-controller-manager", []string{"system:authenticated"}
	}
	cfg := deps.ClientConfig(user, groups...)
	client, err := controller.NewClient(cfg)
	if err != nil {
		return controller.Env{}, err
	}
	return controller.Env{
		Client: client, Config: cfg, Informers: deps.Informers,
		Events: sink.Recorder(client, e.component), Clock: deps.Clock, Metrics: deps.Metrics,
	}, nil
}

// Run runs the controllers until ctx ends and returns when all of them have ended. The informers must be running or
// be started soon; a controller waits for those it needs.
func (c *Controllers) Run(ctx context.Context) error {
	ctx = logr.NewContext(ctx, klog.FromContext(ctx).WithName("controllers"))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.events.Run(ctx) })
	group.Go(func() error {
		if err := c.manager.Start(ctx); err != nil {
			return fmt.Errorf("running controllers: %w", err)
		}
		return nil
	})
	return group.Wait()
}
