package proxy

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"skiff/kubelet/nft"
)

// sliceIndex finds the EndpointSlices of a Service, in the shared informer.
const sliceIndex = "skiff/proxy/service"

// retryPeriod is how long to wait before a failed transaction is tried again.
const retryPeriod = time.Second

// Proxy keeps the node's tables in step with the cluster's Services.
type Proxy struct {
	config    Config
	services  corelisters.ServiceLister
	pods      corelisters.PodLister
	nodes     corelisters.NodeLister
	slices    cache.Indexer
	informers map[string]cache.SharedIndexInformer
	kernel    *kernel
	state     *nft.State[Value]
	dirty     *dirtySet
	health    *healthServers
	planner   Planner
	ready     chan struct{}
}

// New makes a proxy that starts with Run. It registers what it needs with the shared informers.
func New(config Config, deps Deps) (*Proxy, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configuring the service proxy: %w", err)
	}
	if config.RepairPeriod == 0 {
		config.RepairPeriod = 500 * time.Millisecond
	}
	core, endpointSlices := deps.Informers.Core().V1(), deps.Informers.Discovery().V1().EndpointSlices()
	if err := endpointSlices.Informer().AddIndexers(cache.Indexers{sliceIndex: indexByService}); err != nil {
		return nil, fmt.Errorf("indexing endpoint slices: %w", err)
	}
	return &Proxy{
		config:   config,
		services: core.Services().Lister(),
		pods:     core.Pods().Lister(),
		nodes:    core.Nodes().Lister(),
		slices:   endpointSlices.Informer().GetIndexer(),
		informers: map[string]cache.SharedIndexInformer{
			"services":       core.Services().Informer(),
			"endpointslices": endpointSlices.Informer(),
			"pods":           core.Pods().Informer(),
			"nodes":          core.Nodes().Informer(),
		},
		kernel:  newKernel(config.Table, config.families()),
		state:   nft.NewState[Value](),
		dirty:   newDirtySet(),
		health:  newHealthServers(),
		planner: Planner{Families: config.families(), Node: config.NodeName},
		ready:   make(chan struct{}),
	}, nil
}

// Ready is closed once the tables hold what the informers knew at the start.
func (p *Proxy) Ready() <-chan struct{} { return p.ready }

// Run serves until ctx ends. It leaves the tables in place, so that traffic survives a restart; see Cleanup.
func (p *Proxy) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("proxy"))
	synced, stop, err := p.watch()
	defer stop()
	if err != nil {
		return err
	}
	defer p.health.close()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	p.loop(ctx)
	return nil
}

// watch has the informers report what changes; stop ends that.
func (p *Proxy) watch() (synced []cache.InformerSynced, stop func(), err error) {
	handlers := map[string]func(any){
		"services":       p.serviceChanged,
		"endpointslices": p.sliceChanged,
		"pods":           p.podChanged,
		"nodes":          p.nodeChanged,
	}
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for name, changed := range handlers {
		informer := p.informers[name]
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    changed,
			UpdateFunc: func(old, now any) { changed(old); changed(now) },
			DeleteFunc: func(gone any) { changed(unwrap(gone)) },
		})
		if err != nil {
			return nil, stop, fmt.Errorf("watching %s: %w", name, err)
		}
		stops = append(stops, func() { _ = informer.RemoveEventHandler(registration) })
		synced = append(synced, registration.HasSynced)
	}
	return synced, stop, nil
}

// unwrap is the object of a deletion that the watch may have missed.
func unwrap(obj any) any {
	if missed, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return missed.Obj
	}
	return obj
}

func (p *Proxy) serviceChanged(obj any) {
	if svc, ok := obj.(*corev1.Service); ok {
		p.dirty.add(owner{kind: "service", namespace: svc.Namespace, name: svc.Name})
	}
}

func (p *Proxy) sliceChanged(obj any) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && slice.Labels[discoveryv1.LabelServiceName] != "" {
		p.dirty.add(owner{kind: "service", namespace: slice.Namespace, name: slice.Labels[discoveryv1.LabelServiceName]})
	}
}

func (p *Proxy) podChanged(obj any) {
	if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName == p.config.NodeName && HasHostPorts(pod) {
		p.dirty.add(owner{kind: "pod", namespace: pod.Namespace, name: pod.Name})
	}
}

// nodeChanged matters only for where this node is: everything is planned anew if that changes.
func (p *Proxy) nodeChanged(obj any) {
	if node, ok := obj.(*corev1.Node); ok && node.Name == p.config.NodeName {
		p.dirty.add(owner{kind: "node", name: node.Name})
	}
}

func indexByService(obj any) ([]string, error) {
	slice, ok := obj.(metav1.Object)
	if !ok || slice.GetLabels()[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	return []string{slice.GetNamespace() + "/" + slice.GetLabels()[discoveryv1.LabelServiceName]}, nil
}
