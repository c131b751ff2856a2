package volumes

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// locks orders what is done to each volume by the pods that share it.
type locks struct {
	mu   sync.Mutex
	each map[corev1.UniqueVolumeName]*lock
}

type lock struct {
	held  chan struct{} // holds a token while somebody has the lock
	users int           // that have it or wait for it
}

func newLocks() *locks { return &locks{each: map[corev1.UniqueVolumeName]*lock{}} }

// lock waits for a volume's lock and answers what releases it.
func (l *locks) lock(ctx context.Context, name corev1.UniqueVolumeName) (unlock func(), err error) {
	l.mu.Lock()
	one := l.each[name]
	if one == nil {
		one = &lock{held: make(chan struct{}, 1)}
		l.each[name] = one
	}
	one.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.each, name)
		}
	}
	select {
	case one.held <- struct{}{}:
		return func() { <-one.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
