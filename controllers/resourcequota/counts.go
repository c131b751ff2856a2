package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"skiff/controllers/internal/controller"
	"skiff/internal/quota"
)

// counts watches the kinds that quotas count and that the process doesn't hold, each while a quota counts it.
type counts struct {
	discovery discovery.DiscoveryInterface
	objects   metadata.Interface
	clock     clock.PassiveClock
	// changed names the quotas to add up again when an object of the kind has gone from the namespace.
	changed func(kind schema.GroupResource, namespace string) []controller.Key

	mu      sync.Mutex
	add     func(controller.Key)
	closed  bool
	open    map[schema.GroupResource]*count
	kinds   map[schema.GroupResource]schema.GroupVersionResource
	asked   time.Time // when kinds was discovered
	running sync.WaitGroup
}

// count is one watched kind.
type count struct {
	source
	gvr    schema.GroupVersionResource
	quotas map[controller.Key]bool // that count it
	stop   context.CancelFunc
}

// feed keeps what adds a key.
func (c *counts) feed(_ context.Context, add func(controller.Key)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add = add
}

// run ends when all watches have.
func (c *counts) run(ctx context.Context) error {
	<-ctx.Done()
	c.mu.Lock()
	c.closed = true
	for _, w := range c.open {
		w.stop()
	}
	c.mu.Unlock()
	c.running.Wait()
	return nil
}

// release ends the watches of kinds that only the quota counted, and no longer does.
func (c *counts) release(key controller.Key, still []schema.GroupResource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, w := range c.open {
		if slices.Contains(still, kind) {
			continue
		}
		if delete(w.quotas, key); len(w.quotas) == 0 {
			w.stop()
			delete(c.open, kind)
		}
	}
}

// source answers the kind's source for a quota, or how long to wait for it.
func (c *counts) source(ctx context.Context, key controller.Key, kind schema.GroupResource) (source, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return source{}, absent, nil
	}
	gvr, ok, err := c.served(kind)
	if err != nil {
		return source{}, 0, err
	}
	w := c.open[kind]
	if w != nil && (!ok || w.gvr != gvr) { // no longer served, or in another version
		w.stop()
		delete(c.open, kind)
		w = nil
	}
	if !ok {
		return source{}, absent, nil
	}
	if w == nil {
		if w, err = c.watch(ctx, kind, gvr); err != nil {
			return source{}, 0, err
		}
	}
	w.quotas[key] = true
	if !w.informer.HasSynced() {
		return source{}, filling, nil
	}
	return w.source, 0, nil
}

// watch starts to watch a kind; mu is held.
func (c *counts) watch(ctx context.Context, kind schema.GroupResource, gvr schema.GroupVersionResource) (*count, error) {
	index := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	informer := metadatainformer.NewFilteredMetadataInformer(c.objects, gvr, metav1.NamespaceAll, 0, index, nil).Informer()
	if err := informer.SetTransform(bare); err != nil {
		return nil, fmt.Errorf("watching %s: %w", kind, err)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) { c.gone(kind, o) }}); err != nil {
		return nil, fmt.Errorf("watching %s: %w", kind, err)
	}
	ctx, stop := context.WithCancel(ctx)
	w := &count{source{quota.Count(kind), informer}, gvr, map[controller.Key]bool{}, stop}
	c.open[kind] = w
	c.running.Go(func() { informer.RunWithContext(ctx) })
	return w, nil
}

// gone adds the quotas that counted an object.
func (c *counts) gone(kind schema.GroupResource, o any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return
	}
	namespace, _, _ := strings.Cut(key, "/")
	c.mu.Lock()
	add := c.add
	c.mu.Unlock()
	if add == nil {
		return
	}
	for _, k := range c.changed(kind, namespace) {
		add(k)
	}
}

// bare leaves of an object what counting it takes.
func bare(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
	}}, nil
}

// served answers the version to watch a kind in. What is served is discovered at most every absent, except that
// a kind is looked for at once the first time; mu is held.
func (c *counts) served(kind schema.GroupResource) (schema.GroupVersionResource, bool, error) {
	if now := c.clock.Now(); c.kinds == nil || now.Sub(c.asked) >= absent {
		kinds, err := discover(c.discovery, c.kinds)
		if err != nil {
			return schema.GroupVersionResource{}, false, err
		}
		c.kinds, c.asked = kinds, now
	}
	gvr, ok := c.kinds[kind]
	return gvr, ok, nil
}

// discover answers the kinds that can be counted: namespaced, with the verbs create, list, watch and delete. Of
// groups that could not be discovered it keeps what was known.
func discover(client discovery.DiscoveryInterface, known map[schema.GroupResource]schema.GroupVersionResource) (map[schema.GroupResource]schema.GroupVersionResource, error) {
	lists, err := discovery.ServerPreferredNamespacedResources(client)
	kinds := map[schema.GroupResource]schema.GroupVersionResource{}
	var failed *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &failed) {
		for kind, gvr := range known {
			if _, ok := failed.Groups[gvr.GroupVersion()]; ok {
				kinds[kind] = gvr
			}
		}
	} else if err != nil {
		return nil, fmt.Errorf("discovering kinds: %w", err)
	}
	usable := discovery.SupportsAllVerbs{Verbs: []string{"create", "list", "watch", "delete"}}
	for _, l := range discovery.FilteredBy(usable, lists) {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("discovering kinds: %w", err)
		}
		for _, r := range l.APIResources {
			gvr := gv.WithResource(r.Name)
			kinds[gvr.GroupResource()] = gvr
		}
	}
	return kinds, nil
}
