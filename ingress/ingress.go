// Package ingress serves Ingresses on a node: it follows those of its class, has `route` compile them, and `proxy` serve
// what comes of it. It writes the node's addresses into their statuses and tells of what keeps one from being served with
// events.
//
// Ports are taken only while there is something to serve, unless the caller brings listeners: a cluster without Ingresses
// leaves 80 and 443 to others. Gateways and HTTPRoutes are served in the same way where their kinds are installed.
//
//	Ingresses, classes, Services, slices, Secrets ──▶ changes ──▶ route.Compile ──▶ proxy.SetTable
//	                                                                          ╰──▶ events, listeners, statuses
package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	listers "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"skiff/ingress/proxy"
	"skiff/ingress/route"
)

const (
	// Controller is what the IngressClasses that are served call it.
	Controller = "skiff.dev/ingress"
	// Account is the service account that it acts as.
	Account = "system:serviceaccount:kube-system:ingress-controller"
	// Component is who its events are from, and the manager of the fields that it writes.
	Component = "skiff-ingress"
)

// Port is one that requests come in at.
type Port struct {
	// Number of the port; 0 is none.
	Number int
	// Listener is served from the start if it isn't nil. The controller closes it.
	Listener net.Listener
	// Flag changes the number, for messages.
	Flag string
}

// Config says where to serve.
type Config struct {
	// Addresses are those of the node.
	Addresses []netip.Addr
	// Host is the address to listen at; "" is all.
	Host        string
	HTTP, HTTPS Port
	Proxy       proxy.Config
}

// Deps is what the controller works with.
type Deps struct {
	// Client acts as Account.
	Client kubernetes.Interface
	// Informers are shared; New registers what it needs.
	Informers informers.SharedInformerFactory
	// Dynamic acts as Account too, for the Gateway API. Without it that isn't served.
	Dynamic dynamic.Interface
	// Events tells of Ingresses; its component is Component.
	Events record.EventRecorder
	// Metrics is where metrics are shown; nil shows none.
	Metrics proxy.Metrics
}

// Ingress serves one node.
type Ingress struct {
	config   Config
	client   kubernetes.Interface
	proxy    *proxy.Proxy
	changes  *changes
	told     *told
	statuses *statuses
	ports    []*port
	keypairs route.Keypairs
	gateways *gateways

	ingresses listers.IngressLister
	classes   listers.IngressClassLister
	objects   objects
	watched   []watched
}

// watched is an informer with the function that tells of its objects.
type watched struct {
	cache.SharedIndexInformer

	changed func(object any)
}

// New makes a controller and starts nothing.
func New(config Config, deps Deps) (*Ingress, error) {
	if len(config.Addresses) == 0 {
		return nil, errors.New("an ingress needs an address of its node")
	}
	p, err := proxy.New(config.Proxy, proxy.Deps{Metrics: deps.Metrics})
	if err != nil {
		return nil, fmt.Errorf("building the proxy: %w", err)
	}
	core, networking, slices := deps.Informers.Core().V1(), deps.Informers.Networking().V1(), deps.Informers.Discovery().V1().EndpointSlices()
	i := &Ingress{
		config: config, client: deps.Client, proxy: p, changes: newChanges(), told: newTold(deps.Events),
		ingresses: networking.Ingresses().Lister(), classes: networking.IngressClasses().Lister(),
		objects: objects{core.Services().Lister(), slices.Lister(), core.Secrets().Lister()},
	}
	i.statuses = newStatuses(i, core.Nodes().Lister())
	i.gateways = &gateways{of: i, client: deps.Dynamic, namespaces: core.Namespaces().Lister()}
	for _, at := range []struct {
		Port

		secure bool
	}{{config.HTTP, false}, {config.HTTPS, true}} {
		if at.Number != 0 || at.Listener != nil {
			i.ports = append(i.ports, &port{Port: at.Port, host: config.Host, secure: at.secure, proxy: p})
		}
	}
	i.watched = []watched{
		{networking.Ingresses().Informer(), i.ingressChanged},
		{networking.IngressClasses().Informer(), i.classChanged},
		{core.Services().Informer(), i.changes.service},
		{slices.Informer(), i.changes.slice},
		{core.Secrets().Informer(), i.changes.secret},
		{core.Nodes().Informer(), i.nodeChanged},
		{core.Namespaces().Informer(), i.gateways.namespaceChanged},
	}
	return i, nil
}

func (i *Ingress) ingressChanged(object any) {
	i.changes.all()
	i.statuses.add(object)
}

// classChanged: any Ingress may be served now that wasn't, or the other way around.
func (i *Ingress) classChanged(any) {
	i.changes.all()
	i.addAll()
}

// nodeChanged: statuses may have addresses that no node has any more.
func (i *Ingress) nodeChanged(any) {
	if i.statuses.moved() {
		i.addAll()
	}
}

// addAll has the statuses of all Ingresses looked at.
func (i *Ingress) addAll() {
	all, err := i.ingresses.List(labels.Everything())
	if err != nil {
		return
	}
	for _, in := range all {
		i.statuses.add(in)
	}
}

// Run serves until ctx ends.
func (i *Ingress) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("ingress"))
	defer i.proxy.Close()
	defer i.closePorts()
	for _, w := range i.watched {
		registration, err := w.AddEventHandler(handler(w.changed))
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("following what the ingress serves: %w", err)
		}
		defer func() { _ = w.RemoveEventHandler(registration) }()
	}
	for _, w := range i.watched {
		if !cache.WaitForCacheSync(ctx.Done(), w.HasSynced) {
			return nil
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { i.loop(ctx); return nil })
	group.Go(func() error { i.statuses.run(ctx); return nil })
	group.Go(func() error { i.gateways.run(ctx); return nil })
	return group.Wait()
}

// handler calls changed with every object that comes, changes or goes.
func handler(changed func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, after any) { changed(after) },
		DeleteFunc: func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			changed(object)
		},
	}
}

// objects reads the caches for route.
type objects struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	secrets  corelisters.SecretLister
}
