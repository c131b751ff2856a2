package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The lease, and its times as upstream sets them.
const (
	leaseNamespace = "kube-system"
	leaseName      = "kube-scheduler"
	leaseDuration  = 15 * time.Second
	renewDeadline  = 10 * time.Second
	retryPeriod    = 2 * time.Second
)

// errLeaseLost ends Run: what was assumed under a lost lease can't be trusted, a new scheduler starts from the API.
var errLeaseLost = errors.New("the scheduler lost its leader lease")

// watchedLock notes that the lease was taken: the elector says so in no other way that is in order with its return.
type watchedLock struct {
	resourcelock.Interface
	taken bool
}

// RecordEvent is called by the elector in its own goroutine when it takes or loses the lease.
func (l *watchedLock) RecordEvent(event string) {
	l.taken = true
	l.Interface.RecordEvent(event)
}

// lead schedules while the scheduler holds the lease.
func (s *Scheduler) lead(ctx context.Context) error {
	ended := make(chan error, 1)
	lock := &watchedLock{Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: leaseNamespace, Name: leaseName},
		Client:     s.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: s.cfg.Identity},
	}}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { ended <- s.run(ctx) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("setting up the scheduler's leader election: %w", err)
	}
	elector.Run(ctx)
	if !lock.taken {
		return nil
	}
	if err := <-ended; err != nil || ctx.Err() != nil {
		return err
	}
	return errLeaseLost
}
