package controller

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	crsource "sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	defaultWorkers = 5
	firstRetry     = 5 * time.Millisecond
	lastRetry      = 1000 * time.Second
	// conflictRetry repairs a conflict whose event was missed; normally the newer version's own event comes first.
	conflictRetry = 50 * time.Millisecond
	// overdue is when a key comes again whose time came while it was worked on.
	overdue     = time.Millisecond
	syncTimeout = 24 * time.Hour
)

// Add puts the controller under mgr; what it asks to be called again for comes when c says. Nothing starts before the
// manager does.
func Add(mgr manager.Manager, spec Spec, c clock.Clock) error {
	if spec.Run != nil {
		if err := mgr.Add(manager.RunnableFunc(spec.Run)); err != nil {
			return fmt.Errorf("adding %s: %w", spec.Name, err)
		}
	}
	if spec.Reconcile == nil {
		return nil
	}
	made, err := ctrl.New(spec.Name, mgr, options(spec, c))
	if err != nil {
		return fmt.Errorf("adding %s: %w", spec.Name, err)
	}
	for _, w := range spec.Watches {
		if err := made.Watch(&source{watch: w}); err != nil {
			return fmt.Errorf("adding %s: %w", spec.Name, err)
		}
	}
	if spec.Feed == nil {
		return nil
	}
	if err := made.Watch(feed(spec.Feed)); err != nil {
		return fmt.Errorf("adding %s: %w", spec.Name, err)
	}
	return nil
}

// feed adapts Spec.Feed.
func feed(start func(context.Context, func(Key))) crsource.Func {
	return func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		start(ctx, func(k Key) { queue.Add(reconcile.Request{NamespacedName: k}) })
		return nil
	}
}

func options(spec Spec, c clock.Clock) ctrl.Options {
	workers := spec.Workers
	if workers == 0 {
		workers = defaultWorkers
	}
	yes := true
	return ctrl.Options{
		NewQueue:                newQueue(c),
		SkipNameValidation:      &yes, // several servers may live in one process
		MaxConcurrentReconciles: workers,
		CacheSyncTimeout:        syncTimeout, // a kind that is served late delays its controllers, it does not end the process
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		Reconciler:              reconcile.Func(work(spec, c)),
	}
}

// newQueue answers what makes a queue that runs on c, nil for controller-runtime's own, which runs on real time.
func newQueue(c clock.Clock) func(string, workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	ticking, ok := c.(clock.WithTicker)
	if _, real := c.(clock.RealClock); real || !ok {
		return nil
	}
	return func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, Clock: ticking})
	}
}

// work calls the controller. It turns a lost update race into a silent retry, since the newer version is on its way
// into the cache, and counts what the controller asks to be called again after from when it was called: it looked at
// the time then.
func work(spec Spec, c clock.PassiveClock) func(context.Context, reconcile.Request) (Result, error) {
	return func(ctx context.Context, req reconcile.Request) (Result, error) {
		ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName(spec.Name).WithValues("key", req.NamespacedName))
		began := c.Now()
		result, err := spec.Reconcile(ctx, req.NamespacedName)
		if ctx.Err() != nil {
			return Result{}, nil // whatever failed, it failed for want of time
		}
		if apierrors.IsConflict(err) {
			klog.FromContext(ctx).V(4).Info("retrying after a conflict", "error", err)
			return Result{RequeueAfter: conflictRetry}, nil
		}
		if result.RequeueAfter > 0 {
			result.RequeueAfter = max(result.RequeueAfter-c.Since(began), overdue)
		}
		return result, err
	}
}
