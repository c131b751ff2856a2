package policy

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// retryPeriod is how long to wait before a failed transaction is tried again.
const retryPeriod = time.Second

// Enforcer keeps the node's tables in step with the cluster's policies.
type Enforcer struct {
	config     Config
	policies   networkinglisters.NetworkPolicyLister
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	informers  map[string]cache.SharedIndexInformer // by kind of object
	kernel     *kernel
	book       *Book
	dirty      *queue
	metrics    *measures
	ready      chan struct{}

	mu     sync.Mutex
	leases map[Name]map[types.UID]*lease // of this node's pods, each until it is released
	order  int64                         // of the last lease
}

// New makes an enforcer that starts with Run. It registers what it needs with the shared informers.
func New(config Config, deps Deps) (*Enforcer, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configuring network policies: %w", err)
	}
	if config.RepairPeriod == 0 {
		config.RepairPeriod = 500 * time.Millisecond
	}
	measures, err := newMeasures(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("registering the metrics of network policies: %w", err)
	}
	core, policies := deps.Informers.Core().V1(), deps.Informers.Networking().V1().NetworkPolicies()
	return &Enforcer{
		config: config, policies: policies.Lister(), pods: core.Pods().Lister(), namespaces: core.Namespaces().Lister(),
		informers: map[string]cache.SharedIndexInformer{
			"policy": policies.Informer(), "pod": core.Pods().Informer(), "namespace": core.Namespaces().Informer(),
		},
		kernel: newKernel(config.Table, config.Link, config.families()), book: NewBook(config.NodeName, config.families()),
		dirty: newQueue(), metrics: measures, ready: make(chan struct{}), leases: map[Name]map[types.UID]*lease{},
	}, nil
}

// Ready is closed once the tables hold what the informers knew at the start.
func (e *Enforcer) Ready() <-chan struct{} { return e.ready }

// Hold says that a pod of this node has these addresses, which the API may not know yet, or know of another pod. It has
// them until Release, even if the API no longer has the pod.
func (e *Enforcer) Hold(pod *corev1.Pod, addrs []string) { e.hold(pod, addrs) }

func (e *Enforcer) hold(pod *corev1.Pod, addrs []string, done ...chan struct{}) {
	at := Name{pod.Namespace, pod.Name}
	e.mu.Lock()
	if e.leases[at] == nil {
		e.leases[at] = map[types.UID]*lease{}
	}
	e.order++
	e.leases[at][pod.UID] = &lease{pod: pod, addrs: parse(addrs), order: e.order}
	e.mu.Unlock()
	e.dirty.add(object{kind: "pod", at: at}, done...)
}

// Admit is Hold, and waits until the kernel has the rules of the pod: from then on its packets, and others' to it, are
// judged by the policies that are known by now. Asking again is cheap.
func (e *Enforcer) Admit(ctx context.Context, pod *corev1.Pod, addrs []string) error {
	if len(parse(addrs)) == 0 {
		return fmt.Errorf("the pod has no address that network policies could be about: %q", addrs)
	}
	done := make(chan struct{})
	e.hold(pod, addrs, done)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for network policies to be in force: %w", ctx.Err())
	}
}

// Release says that nothing of a pod runs any more and its addresses may be others'.
func (e *Enforcer) Release(pod *corev1.Pod) {
	at := Name{pod.Namespace, pod.Name}
	e.mu.Lock()
	delete(e.leases[at], pod.UID)
	if len(e.leases[at]) == 0 {
		delete(e.leases, at)
	}
	e.mu.Unlock()
	e.dirty.add(object{kind: "pod", at: at})
	e.dirty.add(object{kind: "pod", at: outlived(at, pod.UID)})
}

// Run enforces policies until ctx ends. It leaves the tables in place, so that they hold through a restart; see Cleanup.
func (e *Enforcer) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("policy"))
	synced, stop, err := e.watch()
	defer stop()
	if err != nil {
		return err
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	e.loop(ctx)
	return nil
}

// watch has the informers report what changes; stop ends that.
func (e *Enforcer) watch() (synced []cache.InformerSynced, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for kind, informer := range e.informers {
		changed := func(obj any) {
			if missed, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = missed.Obj
			}
			if o, ok := obj.(metav1.Object); ok {
				e.dirty.add(object{kind: kind, at: Name{o.GetNamespace(), o.GetName()}})
			}
		}
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: changed,
			UpdateFunc: func(before, now any) {
				if differs(before, now) {
					changed(now)
				}
			},
			DeleteFunc: changed,
		})
		if err != nil {
			return nil, stop, fmt.Errorf("watching for a changed %s: %w", kind, err)
		}
		stops = append(stops, func() { _ = informer.RemoveEventHandler(registration) })
		synced = append(synced, registration.HasSynced)
	}
	return synced, stop, nil
}

// differs reports whether an update may matter: most updates of pods are of their conditions.
func differs(before, now any) bool {
	b, ok := before.(*corev1.Pod)
	n, also := now.(*corev1.Pod)
	if !ok || !also {
		return true
	}
	// The node may know addresses that the API doesn't, so that a pod without any matters too.
	view := func(p *corev1.Pod) *pod {
		return newPod(p, "", &lease{addrs: append(addresses(p), netip.Addr{})})
	}
	return b.UID != n.UID || !view(b).same(view(n)) || b.Spec.NodeName != n.Spec.NodeName
}

// note brings what is to the book.
func (e *Enforcer) note(o object) {
	switch o.kind {
	case "policy":
		p, err := e.policies.NetworkPolicies(o.at.Namespace).Get(o.at.Name)
		if err != nil {
			p = (*networkingv1.NetworkPolicy)(nil) // gone
		}
		e.book.SetPolicy(o.at, p)
	case "namespace":
		n, err := e.namespaces.Get(o.at.Name)
		if err != nil {
			n = nil // gone
		}
		e.book.SetNamespace(o.at.Name, n)
	case "pod":
		e.notePod(o.at)
	}
}

// notePod brings a pod to the book, and those before it of the same name that still hold addresses.
func (e *Enforcer) notePod(at Name) {
	var own *lease
	outlive := map[Name]*lease{}
	e.mu.Lock()
	// Under the lock, so that no lease is of a pod newer than the one that is found.
	p, err := e.pods.Pods(at.Namespace).Get(at.Name)
	if err != nil {
		p = nil // gone
	}
	for uid, l := range e.leases[at] {
		if p != nil && p.UID == uid {
			own = &lease{pod: p, addrs: l.addrs, order: l.order}
			e.leases[at][uid] = own
			continue
		}
		outlive[outlived(at, uid)] = l
	}
	e.mu.Unlock()
	e.book.SetPod(at, p, own)
	for name, l := range outlive {
		e.book.SetPod(name, l.pod, l)
	}
}
