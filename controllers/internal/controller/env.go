// Package controller owns what every controller is built from: its surroundings (Env), its declaration (Spec) and
// the adapter that runs a Spec under a controller-runtime manager.
//
// A controller is a Spec: the watches that name the keys to reconcile and one Reconcile function. Watches read the
// process's shared informers directly, so the manager keeps no second copy of any object; reads go through the
// informers' listers and must not be mutated; writes go through Env.Client, which carries the controller's own identity.
package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics"
	"k8s.io/utils/clock"
)

// Env is what a controller is given. All fields are set.
type Env struct {
	// Client writes (and reads uncached) under the controller's identity; protobuf on the wire.
	Client kubernetes.Interface
	// Config is the identity's configuration for dynamic and metadata clients (JSON by default).
	Config *rest.Config
	// Informers is the process's one cache. Informers must be asked for before the factory is started.
	Informers informers.SharedInformerFactory
	// Events records events under the controller's identity.
	Events record.EventRecorder
	// Clock is the source of time.
	Clock clock.Clock
	// Metrics is where metrics are shown.
	Metrics Registry
}

// Registry shows metrics. One that was not registered counts nothing.
type Registry interface {
	Register(metric metrics.Registerable) error
	CustomRegister(collector metrics.StableCollector) error
}

// Register shows several metrics of what has that name.
func Register(to Registry, name string, all ...metrics.Registerable) error {
	for _, m := range all {
		if err := to.Register(m); err != nil {
			return fmt.Errorf("registering the metrics of %s: %w", name, err)
		}
	}
	return nil
}

// Spec declares one controller.
type Spec struct {
	// Name is unique in the process and names the controller in logs and metrics.
	Name string
	// Reconcile brings one key to its desired state. It may be nil when Run does everything.
	Reconcile func(ctx context.Context, key Key) (Result, error)
	// Watches are the sources of keys.
	Watches []Watch
	// Workers is the number of keys reconciled at once; 0 means 5.
	Workers int
	// Feed, if set, is called once when the controller starts, with what adds a key; it must not block.
	Feed func(ctx context.Context, add func(Key))
	// Run, if set, is run beside the reconciler and must return when ctx ends.
	Run func(ctx context.Context) error
}

// NewClient answers a typed client for cfg that speaks protobuf and applies no client-side rate limit:
// the server's priority and fairness is the limit.
func NewClient(cfg *rest.Config) (kubernetes.Interface, error) {
	c := Unlimited(cfg)
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("building client: %w", err)
	}
	return client, nil
}

// Unlimited answers a copy of cfg without client-side rate limit and without logged warnings.
func Unlimited(cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.QPS, c.Burst, c.RateLimiter = -1, 0, nil
	c.WarningHandlerWithContext = rest.NoWarnings{} // warnings are for people; a controller cannot heed them
	return c
}
