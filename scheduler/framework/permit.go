package framework

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// maxPermitWait is the longest a Permit plugin may hold a pod.
const maxPermitWait = 15 * time.Minute

// waitingPods are the pods held by Permit plugins.
type waitingPods struct {
	mu   sync.Mutex
	pods map[types.UID]*waitingPod
}

// waitingPod is decided when its last plugin allowed it or one rejected it.
type waitingPod struct {
	plugins sets.Set[string]
	// names is plugins as they were at the start.
	names   []string
	timeout time.Duration
	decided chan *Status
}

// Permit runs the Permit plugins. Wait means the pod is held and WaitOnPermit must be called.
func (f *Framework) Permit(ctx context.Context, c *Cycle, node string) (status *Status) {
	defer f.ran(ranPermit, time.Now(), &status)
	held := &waitingPod{plugins: sets.New[string](), timeout: maxPermitWait, decided: make(chan *Status, 1)}
	for _, p := range f.permit {
		call := f.call(c, p, ranPermit)
		s, timeout := p.Permit(ctx, c, node)
		call.done(s)
		switch {
		case s.IsWait():
			held.plugins.Insert(p.Name())
			held.timeout = min(held.timeout, timeout)
		case !s.IsSuccess():
			return s.WithPlugin(p.Name())
		}
	}
	if held.plugins.Len() == 0 {
		return nil
	}
	held.names = sets.List(held.plugins)
	f.waiting.mu.Lock()
	defer f.waiting.mu.Unlock()
	if f.waiting.pods == nil {
		f.waiting.pods = map[types.UID]*waitingPod{}
	}
	f.waiting.pods[c.Pod.Pod.UID] = held
	return NewStatus(Wait)
}

// WaitOnPermit blocks until a held pod is allowed, rejected or out of time; at once for one that isn't held.
func (f *Framework) WaitOnPermit(ctx context.Context, pod *PodInfo) (status *Status) {
	f.waiting.mu.Lock()
	held := f.waiting.pods[pod.Pod.UID]
	f.waiting.mu.Unlock()
	if held == nil {
		return nil
	}
	defer f.forgetWaiting(pod.Pod.UID)
	if f.observer != nil {
		began := time.Now()
		defer func() { f.observer.Waited(status.Code(), time.Since(began)) }()
	}
	timer := time.NewTimer(held.timeout)
	defer timer.Stop()
	select {
	case s := <-held.decided:
		return s
	case <-timer.C:
		return NewStatus(Unschedulable, fmt.Sprintf("timed out waiting for permission of %v", held.names))
	case <-ctx.Done():
		return AsStatus(ctx.Err())
	}
}

// Allow gives a plugin's permission to a held pod.
func (f *Framework) Allow(uid types.UID, plugin string) {
	f.waiting.mu.Lock()
	defer f.waiting.mu.Unlock()
	held := f.waiting.pods[uid]
	if held == nil {
		return
	}
	held.plugins.Delete(plugin)
	if held.plugins.Len() == 0 {
		held.decide(nil)
	}
}

// Reject turns a held pod down.
func (f *Framework) Reject(uid types.UID, plugin, msg string) {
	f.waiting.mu.Lock()
	defer f.waiting.mu.Unlock()
	if held := f.waiting.pods[uid]; held != nil {
		held.decide(NewStatus(Unschedulable, msg).WithPlugin(plugin))
	}
}

// decide keeps the first decision.
func (w *waitingPod) decide(s *Status) {
	select {
	case w.decided <- s:
	default:
	}
}

func (f *Framework) forgetWaiting(uid types.UID) {
	f.waiting.mu.Lock()
	defer f.waiting.mu.Unlock()
	delete(f.waiting.pods, uid)
}
