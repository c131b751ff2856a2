// Package evict ends pods when the node runs short of memory or disk, before the kernel does so less wisely.
//
// Every period Measure reads what is left, Short compares it with the thresholds, and when something is short Rank orders the
// pods: those that use more than they request first, then by priority, then by how much more. Unused images and containers go
// before any pod does. One pod is evicted at a time; the next look shows whether that was enough. Pods that hold more in
// an emptyDir than its sizeLimit allows go whether or not the node is short of anything.
package evict

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
	"skiff/kubelet/pod"
)

// Thresholds are what must be left; a zero one is never reached.
type Thresholds struct {
	// Memory is in bytes.
	Memory int64
	// Disk and Inodes are shares of the whole, from 0 to 1.
	Disk, Inodes float64
	// Period is how often is looked; Hold how long a shortage is reported after it ended.
	Period, Hold time.Duration
}

// DefaultThresholds are upstream's hard ones.
func DefaultThresholds() Thresholds {
	return Thresholds{Memory: 100 << 20, Disk: 0.10, Inodes: 0.05, Period: 10 * time.Second, Hold: 5 * time.Minute}
}

// Pressure says what the node is short of.
type Pressure struct{ Memory, Disk, PID bool }

// Pods are the node's pods.
type Pods interface {
	Pods() []*corev1.Pod
	Evict(uid types.UID, reason, message string, grace time.Duration)
}

// Stats tells what pods use.
type Stats interface {
	Stats(ctx context.Context) ([]cri.PodStats, error)
}

// Deps is what the manager works with.
type Deps struct {
	Pods     Pods
	Stats    Stats
	Collect  func(ctx context.Context, all bool) error
	Recorder pod.Recorder
	// Root is on the filesystem of the pods.
	Root string
}

// Manager watches the node.
type Manager struct {
	thresholds Thresholds
	deps       Deps
	measure    measureFunc

	mu   sync.Mutex
	last map[Signal]time.Time
	// relieved says that pods were evicted for what they held since the last look.
	relieved bool
}

// New makes a manager.
func New(thresholds Thresholds, deps Deps) *Manager {
	return &Manager{thresholds: thresholds, deps: deps, measure: onDisk(deps.Root), last: map[Signal]time.Time{}}
}

// Pressure answers what the node is, or lately was, short of.
func (m *Manager) Pressure() Pressure {
	m.mu.Lock()
	defer m.mu.Unlock()
	recent := func(s Signal) bool { return !m.last[s].IsZero() && time.Since(m.last[s]) < m.thresholds.Hold }
	return Pressure{Memory: recent(Memory), Disk: recent(Disk) || recent(Inodes)}
}

// Run watches until ctx ends. The pods' volumes are measured beside the rest: a pod with very many files makes that slow, and
// may not keep the node from seeing what it is short of.
func (m *Manager) Run(ctx context.Context) error {
	if m.thresholds.Period <= 0 {
		<-ctx.Done()
		return nil
	}
	loops := &errgroup.Group{}
	loops.Go(func() error { return m.every(ctx, m.lookAtLimits) })
	loops.Go(func() error { return m.every(ctx, m.look) })
	return loops.Wait()
}

// every looks once a period until ctx ends.
func (m *Manager) every(ctx context.Context, look func(context.Context) error) error {
	tick := time.NewTicker(m.thresholds.Period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := look(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Could not watch for eviction")
		}
	}
}

func (m *Manager) lookAtLimits(context.Context) error {
	evicted, err := m.enforceLimits()
	m.mu.Lock()
	m.relieved = m.relieved || evicted
	m.mu.Unlock()
	return err
}

func (m *Manager) look(ctx context.Context) error {
	m.mu.Lock()
	relieved := m.relieved
	m.relieved = false
	m.mu.Unlock()
	if relieved {
		return nil // the next look shows what that freed
	}
	left, err := Measure(m.deps.Root)
	if err != nil {
		return err
	}
	short, ok := Short(left, m.thresholds)
	if !ok {
		return nil
	}
	m.mu.Lock()
	m.last[short.Signal] = time.Now()
	m.mu.Unlock()
	if short.Signal != Memory {
		if err := m.deps.Collect(ctx, true); err != nil {
			klog.FromContext(ctx).Error(err, "Could not free disk space from images")
		}
		if left, err = Measure(m.deps.Root); err != nil {
			return err
		}
		if short, ok = Short(left, m.thresholds); !ok {
			return nil
		}
	}
	stats, err := m.deps.Stats.Stats(ctx)
	if err != nil {
		return err
	}
	for _, victim := range Rank(m.deps.Pods.Pods(), stats, short.Signal) {
		m.evict(victim, short)
		return nil
	}
	return nil
}

func (m *Manager) evict(victim Victim, short Shortage) {
	text := fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ", short.Signal.resource(),
		quantity(short.Threshold), quantity(short.Available))
	for _, c := range victim.Over {
		text += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %s. ",
			c.Name, quantity(c.Used), quantity(c.Requested), short.Signal.resource())
	}
	m.deps.Recorder.Event(victim.Pod, "", corev1.EventTypeWarning, "Evicted", text)
	m.deps.Pods.Evict(victim.Pod.UID, "Evicted", text, 0)
}

func quantity(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }
