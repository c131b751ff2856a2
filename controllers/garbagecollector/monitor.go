package garbagecollector

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// monitor keeps the objects of one kind in the graph. Kinds that the process watches anyway come from the shared
// informers; others are watched as metadata straight into the graph, without a store of their own.
type monitor struct {
	kind   Kind
	synced func() bool
	stop   context.CancelFunc
}

// sink is the graph as monitors see it.
type sink interface {
	observe(kind Kind, o metav1.Object)
	forget(uid types.UID)
	forgetMissing(kind Kind, present map[types.UID]bool)
}

// share follows an informer that somebody else runs.
func share(ctx context.Context, kind Kind, informer cache.SharedIndexInformer, s sink) (*monitor, error) {
	registered, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { observe(s, kind, o) },
		UpdateFunc: func(_, o any) { observe(s, kind, o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if m, err := meta.Accessor(o); err == nil {
				s.forget(m.GetUID())
			}
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registered) })
	return &monitor{kind, registered.HasSynced, stop}, nil
}

// follow watches a kind's metadata; running is told when the watch has ended.
func follow(ctx context.Context, kind Kind, client metadata.Interface, s sink, running *sync.WaitGroup) *monitor {
	objects := client.Resource(kind.GVR)
	store := &graphStore{kind: kind, sink: s}
	list := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return objects.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return objects.Watch(ctx, o)
		},
	}
	reflector := cache.NewReflectorWithOptions(list, &metav1.PartialObjectMetadata{}, store, cache.ReflectorOptions{
		Name: "garbagecollector/" + kind.GVR.String(), TypeDescription: kind.GVR.String(),
	})
	ctx, stop := context.WithCancel(ctx)
	running.Go(func() { reflector.RunWithContext(ctx) })
	return &monitor{kind, store.replaced.Load, stop}
}

func observe(s sink, kind Kind, o any) {
	if m, err := meta.Accessor(o); err == nil {
		s.observe(kind, m)
	}
}

// graphStore is a reflector's store that keeps nothing: what it is told goes into the graph.
type graphStore struct {
	kind     Kind
	sink     sink
	replaced atomic.Bool
}

// Add implements cache.ReflectorStore.
func (g *graphStore) Add(o any) error {
	observe(g.sink, g.kind, o)
	return nil
}

// Update implements cache.ReflectorStore.
func (g *graphStore) Update(o any) error { return g.Add(o) }

// Delete implements cache.ReflectorStore.
func (g *graphStore) Delete(o any) error {
	if m, err := meta.Accessor(o); err == nil {
		g.sink.forget(m.GetUID())
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (g *graphStore) Replace(items []any, _ string) error {
	present := map[types.UID]bool{}
	for _, o := range items {
		if m, err := meta.Accessor(o); err == nil {
			present[m.GetUID()] = true
			g.sink.observe(g.kind, m)
		}
	}
	g.sink.forgetMissing(g.kind, present)
	g.replaced.Store(true)
	return nil
}

// Resync implements cache.ReflectorStore.
func (g *graphStore) Resync() error { return nil }

// patience is how long objects wait for kinds that cannot be listed before they are judged without them; a judgement
// always asks the server again.
const patience = 30 * time.Second
