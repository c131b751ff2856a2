package ingress

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"skiff/ingress/route"
)

// GatewayController is what the GatewayClasses that are served call the controller.
const GatewayController = "skiff.dev/gateway"

// lookPeriod is between two looks for the kinds of the Gateway API, which users install and remove.
const lookPeriod = 10 * time.Second

// The kinds of the Gateway API that are read. Grants may be missing, and have two versions.
const (
	classes = "gatewayclasses"
	gates   = "gateways"
	routes  = "httproutes"
	grants  = "referencegrants"
)

// gateways follows the Gateway API as long as its kinds are there.
type gateways struct {
	of         *Ingress
	client     dynamic.Interface // nil if it isn't served
	namespaces corelisters.NamespaceLister
	unreported bool // a status couldn't be written; of the loop

	mu     sync.Mutex
	caches map[string]cache.GenericLister // nil while the kinds aren't there
	kinds  map[string]schema.GroupVersionResource
}

// run looks for the kinds and follows their objects.
func (g *gateways) run(ctx context.Context) {
	if g.client == nil {
		return
	}
	stop := func() {}
	defer func() { stop() }()
	for {
		if kinds, err := g.look(); err != nil {
			klog.FromContext(ctx).V(2).Info("Looking for the Gateway API", "err", err)
		} else if !maps.Equal(kinds, g.following()) {
			before := stop
			stop = g.follow(ctx, kinds)
			before() // whose caches are served until there are others
		}
		if !rest(ctx, lookPeriod) {
			return
		}
	}
}

func (g *gateways) following() map[string]schema.GroupVersionResource {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kinds
}

func (g *gateways) followed() int { return len(g.following()) }

// look answers the kinds that are there; none unless all that matter are. An error says that it isn't known.
func (g *gateways) look() (map[string]schema.GroupVersionResource, error) {
	kinds := map[string]schema.GroupVersionResource{}
	for _, version := range []string{"v1", "v1beta1"} {
		gv := schema.GroupVersion{Group: route.GatewayGroup, Version: version}
		list, err := g.of.client.Discovery().ServerResourcesForGroupVersion(gv.String())
		if apierrors.IsNotFound(err) {
			break // grants need not be there
		}
		if err != nil {
			return nil, fmt.Errorf("asking for the kinds of %s: %w", gv, err)
		}
		for _, r := range list.APIResources {
			_, known := kinds[r.Name]
			if !known && (r.Name == grants || version == "v1" && (r.Name == classes || r.Name == gates || r.Name == routes)) {
				kinds[r.Name] = gv.WithResource(r.Name)
			}
		}
	}
	for _, name := range []string{classes, gates, routes} {
		if _, ok := kinds[name]; !ok {
			return nil, nil
		}
	}
	return kinds, nil
}

// follow fills caches of the kinds, has them served and answers what ends that.
func (g *gateways) follow(ctx context.Context, kinds map[string]schema.GroupVersionResource) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	factory := dynamicinformer.NewDynamicSharedInformerFactory(g.client, 0)
	caches := map[string]cache.GenericLister{}
	for name, kind := range kinds {
		informer := factory.ForResource(kind)
		caches[name] = informer.Lister()
		if _, err := informer.Informer().AddEventHandler(handler(func(any) { g.of.changes.all() })); err != nil {
			klog.FromContext(ctx).Error(err, "Following the Gateway API")
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	g.set(caches, kinds)
	return func() {
		cancel()
		factory.Shutdown()
	}
}

func (g *gateways) set(caches map[string]cache.GenericLister, kinds map[string]schema.GroupVersionResource) {
	g.mu.Lock()
	g.caches, g.kinds = caches, kinds
	g.mu.Unlock()
	g.of.changes.all()
}

// namespaceChanged: listeners may select by the labels of namespaces.
func (g *gateways) namespaceChanged(any) {
	if g.followed() > 0 {
		g.of.changes.all()
	}
}

// read answers what there is to serve.
func (g *gateways) read(ctx context.Context) *route.Gateways {
	out := &route.Gateways{HTTPPort: g.of.config.HTTP.Number, HTTPSPort: g.of.config.HTTPS.Number, Labels: g.labels}
	g.mu.Lock()
	caches := g.caches
	g.mu.Unlock()
	own := map[string]bool{}
	for _, c := range all[route.GatewayClass](ctx, caches[classes]) {
		own[c.Name] = c.Spec.ControllerName == GatewayController
	}
	for _, gw := range all[route.Gateway](ctx, caches[gates]) {
		if own[gw.Spec.GatewayClassName] && gw.DeletionTimestamp == nil {
			out.Gateways = append(out.Gateways, gw)
		}
	}
	out.Routes, out.Grants = all[route.HTTPRoute](ctx, caches[routes]), all[route.ReferenceGrant](ctx, caches[grants])
	return out
}

func (g *gateways) labels(namespace string) labels.Set {
	n, err := g.namespaces.Get(namespace)
	if err != nil {
		return nil
	}
	return n.Labels
}

// all reads the objects of a cache, which may be nil. One that doesn't have the kind's form is left out.
func all[T any](ctx context.Context, from cache.GenericLister) (out []*T) {
	if from == nil {
		return nil
	}
	list, err := from.List(labels.Everything())
	if err != nil {
		return nil
	}
	for _, o := range list {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		to := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, to); err != nil {
			klog.FromContext(ctx).Error(err, "Reading an object of the Gateway API", "kind", u.GetKind(), "object", klog.KObj(u))
			continue
		}
		out = append(out, to)
	}
	return out
}
