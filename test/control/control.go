// Package control starts a cluster without containers inside a test: an API server, the scheduler and hollow nodes, and as
// many managers with all controllers as the test wants.
package control

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"skiff/controllers"
	"skiff/controllers/certificates"
	"skiff/kubelet/hollow"
	"skiff/scheduler"
	"skiff/test/env"
)

// Options changes the defaults.
type Options struct {
	// Nodes is the number of hollow nodes, named hollow-0 and so on; 1 if 0.
	Nodes int
	// Clock is the time of controllers and nodes; the real one if nil.
	Clock clock.WithTicker
}

// Plane is a running cluster without controllers.
type Plane struct {
	*env.Server
	// Client may do everything.
	Client kubernetes.Interface
	// Hollow are the nodes.
	Hollow *hollow.Nodes
	// Load is what autoscalers see.
	Load *Load

	t     testing.TB
	clock clock.WithTicker
}

// patience is far above what nodes need to register.
const patience = 30 * time.Second

// Start returns a cluster with ready nodes, which ends with the test.
func Start(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	s := env.Start(t, env.Options{})
	p := &Plane{Server: s, Client: kubernetes.NewForConfigOrDie(s.Admin()), Load: NewLoad(o.Clock), t: t, clock: o.Clock}
	factory := informers.NewSharedInformerFactory(p.Client, 0)
	var err error
	p.Hollow, err = hollow.New(hollow.Config{Count: max(o.Nodes, 1), Version: "v1.37.2"}, hollow.Deps{Client: p.Client, Informers: factory, Clock: o.Clock})
	if err != nil {
		t.Fatal(err)
	}
	places, err := scheduler.New(scheduler.Config{}, scheduler.Deps{Client: kubernetes.NewForConfigOrDie(s.Config("system:kube-scheduler")), Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	factory.StartWithContext(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.Hollow.Run(ctx) })
	group.Go(func() error { return places.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("scheduler and nodes: %v", err)
		}
		factory.Shutdown()
	})
	p.awaitNodes(max(o.Nodes, 1))
	return p
}

func (p *Plane) awaitNodes(n int) {
	p.t.Helper()
	err := apiwait.PollUntilContextTimeout(p.t.Context(), 10*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		list, err := p.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == n && len(list.Items[n-1].Status.Conditions) > 0, nil
	})
	if err != nil {
		p.t.Fatalf("the nodes are not ready: %v", err)
	}
}

// Manager runs all controllers over informers of their own until ctx ends, and returns when all has ended. Change may
// change the configuration; wrap, if set, what every client is made of.
func (p *Plane) Manager(ctx context.Context, change func(*controllers.Config), wrap func(*rest.Config) *rest.Config) error {
	if wrap == nil {
		wrap = func(c *rest.Config) *rest.Config { return c }
	}
	reader, err := kubernetes.NewForConfig(wrap(p.Admin()))
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(reader, 0)
	defer factory.Shutdown()
	cfg := controllers.Default()
	if change != nil {
		change(&cfg)
	}
	cert, key := p.PKI.Authority()
	all, err := controllers.New(cfg, controllers.Deps{
		ClientConfig: p.Load.Behind(func(user string, groups ...string) *rest.Config { return wrap(p.Config(user, groups...)) }),
		Informers:    factory, RootCA: p.PKI.CA(), Tokens: p.Access.Issuer, Authority: &certificates.Authority{Certificate: cert, Key: key}, Clock: p.clock,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory.StartWithContext(ctx)
	return all.Run(ctx)
}
