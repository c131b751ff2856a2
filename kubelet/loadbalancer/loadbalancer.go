// Package loadbalancer gives Services of type LoadBalancer the addresses of the node, as k3s' ServiceLB does: their ports
// are then reached there, which `kubelet/proxy` sees to once the addresses stand in a Service's status.
//
// A port of the node is one Service's, the oldest that wants it, and no other program's: a socket that nobody reads from
// holds it. A Service that doesn't get all its ports gets no address, and an event says why. Those of a loadBalancerClass
// are others', and so is one whose status names an address that is no node's.
package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

const (
	// Account is the service account that it acts as.
	Account = "system:serviceaccount:kube-system:load-balancer"
	// Component is who its events are from, and the manager of the fields that it writes.
	Component = "skiff-load-balancer"
)

// ReasonPort is the reason of events about ports that can't be had.
const ReasonPort = "PortUnavailable"

// retryPeriod is between two attempts at what failed: a write, or a port that a program has.
const retryPeriod = 10 * time.Second

// Config says what there is to give.
type Config struct {
	// Node is the name of this node, Addresses its addresses.
	Node      string
	Addresses []netip.Addr
}

// Deps is what the balancer works with.
type Deps struct {
	// Client acts as Account.
	Client kubernetes.Interface
	// Informers are shared; New registers what it needs.
	Informers informers.SharedInformerFactory
	// Events tells of Services; its component is Component.
	Events record.EventRecorder
}

// Balancer serves one node.
type Balancer struct {
	config   Config
	client   kubernetes.Interface
	events   record.EventRecorder
	services listers.ServiceLister
	nodes    listers.NodeLister
	slices   discoverylisters.EndpointSliceLister
	watched  map[cache.SharedIndexInformer]func(before, after any) bool
	signal   chan struct{} // holds one when there is something to do
	ports    holders
	told     map[string]bool      // events that were sent
	known    map[string]bool      // addresses of nodes, also of those that are gone
	foreign  map[types.UID]string // versions of Services whose status others wrote

	mu     sync.Mutex
	locals map[types.NamespacedName]bool // Services that get an address only where their pods are
}

// New makes a balancer and starts nothing.
func New(config Config, deps Deps) (*Balancer, error) {
	if config.Node == "" || len(config.Addresses) == 0 {
		return nil, errors.New("a load balancer needs the name and an address of its node")
	}
	core, endpoints := deps.Informers.Core().V1(), deps.Informers.Discovery().V1().EndpointSlices()
	b := &Balancer{
		config: config, client: deps.Client, events: deps.Events, services: core.Services().Lister(), nodes: core.Nodes().Lister(), slices: endpoints.Lister(),
		signal: make(chan struct{}, 1), ports: holders{}, known: map[string]bool{},
	}
	for _, a := range config.Addresses {
		b.known[a.String()] = true
	}
	b.watched = map[cache.SharedIndexInformer]func(before, after any) bool{
		core.Services().Informer(): func(before, after any) bool { return balanced(before) || balanced(after) },
		endpoints.Informer():       func(before, after any) bool { return b.local(before) || b.local(after) },
		core.Nodes().Informer():    func(before, after any) bool { return !slices.Equal(addresses(before), addresses(after)) },
	}
	return b, nil
}

// addresses are those of a node.
func addresses(object any) []corev1.NodeAddress {
	if n, ok := object.(*corev1.Node); ok {
		return n.Status.Addresses
	}
	return nil
}

func balanced(object any) bool {
	s, ok := object.(*corev1.Service)
	return ok && s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// local reports whether a slice belongs to a Service that gets an address only where its pods are.
func (b *Balancer) local(object any) bool {
	s, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.locals[types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}]
}

// Run gives and takes addresses until ctx ends. Services keep those that they have then: the next run goes on from there.
func (b *Balancer) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("load-balancer"))
	defer b.ports.close()
	for informer, matters := range b.watched {
		registration, err := informer.AddEventHandler(b.handler(matters))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("following Services to balance: %w", err)
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }()
	}
	for informer := range b.watched {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return nil
		}
	}
	b.wake()
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.signal:
		case <-retry:
		}
		if retry = nil; !b.sync(ctx) {
			retry = time.After(retryPeriod)
		}
	}
}

func (b *Balancer) handler(matters func(before, after any) bool) cache.ResourceEventHandler {
	told := func(before, after any) {
		if matters(before, after) {
			b.wake()
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { told(nil, o) },
		UpdateFunc: told,
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			told(o, nil)
		},
	}
}

func (b *Balancer) wake() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// sync brings ports and statuses to what is wanted; false if some of it must be tried again.
func (b *Balancer) sync(ctx context.Context) bool {
	all, err := b.services.List(labels.Everything())
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing Services")
		return false
	}
	b.nodeAddresses()
	done, told := b.recognize(ctx, all), map[string]bool{}
	wishes := Plan(all, b.config.Addresses, b.known)
	b.remember(wishes)
	b.ports.keep(wishes)
	for _, w := range wishes {
		problem := w.Problem
		if problem == "" {
			if problem = b.ports.hold(ctx, w, b.config.Node); problem != "" {
				done = false
			}
		}
		if problem != "" {
			key := string(w.Service.UID) + " " + problem
			if told[key] = true; !b.told[key] {
				b.events.Event(w.Service, corev1.EventTypeWarning, ReasonPort, problem)
			}
		}
		var now []netip.Addr
		if problem == "" && (!w.Local || b.hasPod(w.Service)) {
			now = w.Addresses
		}
		if err := b.write(ctx, w.Service, now); err != nil {
			klog.FromContext(ctx).V(2).Info("Trying again", "service", klog.KObj(w.Service), "err", err)
			done = false
		}
	}
	b.told = told
	return done
}

func (b *Balancer) remember(wishes []Wish) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.locals = map[types.NamespacedName]bool{}
	for _, w := range wishes {
		if w.Local {
			b.locals[types.NamespacedName{Namespace: w.Service.Namespace, Name: w.Service.Name}] = true
		}
	}
}

// hasPod reports whether a ready endpoint of the Service is on this node.
func (b *Balancer) hasPod(s *corev1.Service) bool {
	all, err := b.slices.EndpointSlices(s.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: s.Name}))
	if err != nil {
		return false
	}
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && *e.NodeName == b.config.Node && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				return true
			}
		}
	}
	return false
}
