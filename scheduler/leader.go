package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// orDefault fills in what is not set, with upstream's values.
func (l Lease) orDefault() Lease {
	l.Namespace, l.Name = cmp.Or(l.Namespace, metav1.NamespaceSystem), cmp.Or(l.Name, "kube-scheduler")
	l.Duration, l.RenewDeadline = cmp.Or(l.Duration, 15*time.Second), cmp.Or(l.RenewDeadline, 10*time.Second)
	l.RetryPeriod = cmp.Or(l.RetryPeriod, 2*time.Second)
	return l
}

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
		LeaseMeta:  metav1.ObjectMeta{Namespace: s.cfg.Lease.Namespace, Name: s.cfg.Lease.Name},
		Client:     s.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: s.cfg.Identity},
	}}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: s.cfg.Lease.Duration, RenewDeadline: s.cfg.Lease.RenewDeadline, RetryPeriod: s.cfg.Lease.RetryPeriod,
		ReleaseOnCancel: true, Name: s.cfg.Lease.Name,
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
