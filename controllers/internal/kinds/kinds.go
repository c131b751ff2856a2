// Package kinds knows what kinds the server serves, custom ones included, and the scales of their objects.
package kinds

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/utils/clock"

	"skiff/controllers/internal/controller"
)

// renewal is how long what discovery said is believed at least, however many unknown kinds are asked for.
const renewal = 30 * time.Second

// Kinds knows the server's kinds. It asks again when one is unknown: a custom resource may have come since.
type Kinds struct {
	*restmapper.DeferredDiscoveryRESTMapper
	clock clock.PassiveClock
	mu    sync.Mutex
	asked time.Time
}

// New answers one that asks when it is asked first.
func New(env controller.Env) *Kinds {
	return &Kinds{
		DeferredDiscoveryRESTMapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(env.Client.Discovery())),
		clock:                       env.Clock,
	}
}

// Renew forgets what discovery said, unless that was done lately, and answers whether it did.
func (k *Kinds) Renew(ctx context.Context) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.asked.IsZero() && k.clock.Since(k.asked) < renewal {
		return false
	}
	k.asked = k.clock.Now()
	k.ResetWithContext(ctx)
	return true
}

// Scales answers a client of the scales of all kinds.
func (k *Kinds) Scales(env controller.Env) (scale.ScalesGetter, error) {
	resolver := scale.NewDiscoveryScaleKindResolver(env.Client.Discovery())
	scales, err := scale.NewForConfig(controller.Unlimited(env.Config), k, dynamic.LegacyAPIPathResolverFunc, resolver)
	if err != nil {
		return nil, fmt.Errorf("building client of scales: %w", err)
	}
	return scales, nil
}
