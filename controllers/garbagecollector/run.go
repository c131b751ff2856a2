package garbagecollector

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/controller"
)

const (
	resync = 30 * time.Second
	settle = 200 * time.Millisecond
)

// state is what monitors and workers share.
type state struct {
	mu       sync.Mutex
	graph    *Graph
	kinds    Kinds
	monitors map[schema.GroupVersionResource]*monitor
	since    time.Time
	add      func(controller.Key)
	waiting  []types.UID
	// changed is told when the set of kinds may have changed.
	changed chan struct{}
}

func (s *state) observe(kind Kind, o metav1.Object) {
	ref := Ref{kind.GVK.GroupVersion().String(), kind.GVK.Kind, o.GetNamespace(), o.GetName(), o.GetUID()}
	s.mu.Lock()
	concerned := s.graph.Observe(ref, o)
	s.mu.Unlock()
	s.enqueue(concerned)
	if definesKinds(kind.GVK) {
		s.notify()
	}
}

func definesKinds(gvk schema.GroupVersionKind) bool {
	return gvk.Kind == "CustomResourceDefinition" || gvk.Kind == "APIService"
}

func (s *state) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *state) forget(uid types.UID) {
	s.mu.Lock()
	concerned := s.graph.Forget(uid)
	s.mu.Unlock()
	s.enqueue(concerned)
}

func (s *state) forgetMissing(kind Kind, present map[types.UID]bool) {
	s.mu.Lock()
	var concerned []types.UID
	for _, uid := range s.graph.Of(kind.GVK.GroupVersion().String(), kind.GVK.Kind) {
		if !present[uid] {
			concerned = append(concerned, s.graph.Forget(uid)...)
		}
	}
	s.mu.Unlock()
	s.enqueue(concerned)
}

// enqueue queues objects to be judged; before the queue exists they wait.
func (s *state) enqueue(uids []types.UID) {
	s.mu.Lock()
	add := s.add
	if add == nil {
		s.waiting = append(s.waiting, uids...)
	}
	s.mu.Unlock()
	if add == nil {
		return
	}
	for _, uid := range uids {
		add(controller.Key{Name: string(uid)})
	}
}

// feed hands over the queue.
func (s *state) feed(_ context.Context, add func(controller.Key)) {
	s.mu.Lock()
	s.add = add
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	s.enqueue(waiting)
}

// ready answers whether every kind was listed, or was given its time.
func (s *state) ready(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return false
	}
	for _, m := range s.monitors {
		if !m.synced() && now.Sub(s.since) < patience {
			return false
		}
	}
	return true
}

// run keeps a monitor for every kind that the server serves, until ctx ends.
func (r *reconciler) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := r.env.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed: // kinds come and go in groups: look once for all of them
			timer.Reset(settle)
			continue
		case <-timer.C():
		}
		if err := r.follow(ctx, &running); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).WithName("garbagecollector").V(2).Info("kinds are not up to date", "error", err)
		}
		timer.Reset(resync)
	}
}

// follow starts monitors for new kinds and stops those of kinds that have gone.
func (r *reconciler) follow(ctx context.Context, running *sync.WaitGroup) error {
	kinds, err := discover(r.env.Client.Discovery())
	if err != nil {
		return err
	}
	concerned, err := r.update(ctx, kinds, running)
	r.enqueue(concerned)
	return err
}

func (r *reconciler) update(ctx context.Context, kinds Kinds, running *sync.WaitGroup) ([]types.UID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var concerned []types.UID
	for gvr, m := range r.monitors {
		if _, ok := kinds.Watched[gvr]; !ok && !slices.Contains(kinds.Failed, gvr.GroupVersion()) {
			m.stop()
			delete(r.monitors, gvr)
			for _, uid := range r.graph.Of(m.kind.GVK.GroupVersion().String(), m.kind.GVK.Kind) {
				concerned = append(concerned, r.graph.Forget(uid)...)
			}
		}
	}
	for gvr, kind := range kinds.Watched {
		if _, ok := r.monitors[gvr]; !ok {
			m, err := r.monitor(ctx, kind, running)
			if err != nil {
				return concerned, fmt.Errorf("watching %s: %w", gvr, err)
			}
			r.monitors[gvr] = m
			r.since = r.env.Clock.Now()
		}
	}
	r.kinds = kinds
	return concerned, nil
}

func (r *reconciler) monitor(ctx context.Context, kind Kind, running *sync.WaitGroup) (*monitor, error) {
	if informer, ok := r.shared[kind.GVR]; ok {
		return share(ctx, kind, informer, r.state)
	}
	return follow(ctx, kind, r.objects, r.state, running), nil
}
