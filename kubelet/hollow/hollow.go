// Package hollow simulates nodes whose pods run instantly, for tests of scale: Node objects with leases, and pods bound to them
// that are Running and ready at once, done at once when they belong to a Job, and gone once they are deleted. No process runs.
// Annotations of pods and nodes (behaviour.go) make pods fail or not ready and nodes silent.
package hollow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"skiff/kubelet/status"
)

// The rhythm of leases, as upstream's.
const (
	leaseSeconds = 40
	renewPeriod  = 10 * time.Second
)

// parallel is how many nodes are written at once.
const parallel = 16

// Label marks simulated nodes.
const Label = "skiff.dev/simulated"

// Config says what to simulate.
type Config struct {
	// Count is the number of nodes, named Prefix0, Prefix1 and so on; the prefix is "hollow-" when empty.
	Count  int
	Prefix string
	// Capacity is each node's; 32 CPUs, 256 GiB and 110 pods when nil.
	Capacity corev1.ResourceList
	// PodCIDR is where pods' addresses come from; 100.64.0.0/10 when zero. Nothing answers there.
	PodCIDR netip.Prefix
	// Version is the kubelet version to announce.
	Version string
}

// Deps is what the simulation works with.
type Deps struct {
	// Client may write any node, lease and pod status.
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Clock is the source of time; the real one if nil.
	Clock clock.WithTicker
}

// Nodes simulates nodes.
type Nodes struct {
	config   Config
	client   kubernetes.Interface
	clock    clock.WithTicker
	informer cache.SharedIndexInformer
	nodes    cache.SharedIndexInformer
	writer   *status.Writer
	wake     chan struct{} // a node was made silent or woken

	mu     sync.Mutex
	next   netip.Addr
	ips    map[string]string
	missed map[string]bool // nodes that were silent when something happened
}

// New makes the simulation and starts nothing.
func New(config Config, deps Deps) (*Nodes, error) {
	if config.Count <= 0 {
		return nil, errors.New("there must be at least one simulated node")
	}
	if config.Prefix == "" {
		config.Prefix = "hollow-"
	}
	if config.Capacity == nil {
		config.Capacity = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
			corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		}
	}
	if !config.PodCIDR.IsValid() {
		config.PodCIDR = netip.MustParsePrefix("100.64.0.0/10")
	}
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	return &Nodes{
		config: config, client: deps.Client, clock: deps.Clock, wake: make(chan struct{}, 1),
		informer: deps.Informers.Core().V1().Pods().Informer(), nodes: deps.Informers.Core().V1().Nodes().Informer(),
		writer: status.NewWriter(deps.Client.CoreV1()), next: config.PodCIDR.Masked().Addr().Next(), ips: map[string]string{}, missed: map[string]bool{},
	}, nil
}

// Name is the name of the node with a number.
func (n *Nodes) Name(i int) string { return fmt.Sprintf("%s%d", n.config.Prefix, i) }

// Run registers the nodes and simulates until ctx ends.
func (n *Nodes) Run(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), n.informer.HasSynced, n.nodes.HasSynced) {
		return nil
	}
	if err := n.each(ctx, n.register); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	stop, err := n.follow()
	defer stop()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.writer.Run(ctx) })
	group.Go(func() error { return n.renew(ctx) })
	return group.Wait()
}

// follow hears of pods and nodes until stop is called.
func (n *Nodes) follow() (stop func(), err error) {
	var end []func()
	stop = func() {
		for _, f := range end {
			f()
		}
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		n.informer: cache.ResourceEventHandlerFuncs{AddFunc: n.observe, UpdateFunc: func(_, object any) { n.observe(object) }, DeleteFunc: n.forget},
		n.nodes:    cache.ResourceEventHandlerFuncs{UpdateFunc: n.observeNode},
	} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return stop, fmt.Errorf("following pods and nodes: %w", err)
		}
		end = append(end, func() { _ = informer.RemoveEventHandler(registration) })
	}
	return stop, nil
}

// each does something for every node, several at once.
func (n *Nodes) each(ctx context.Context, do func(context.Context, string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n.config.Count {
		group.Go(func() error { return do(ctx, n.Name(i)) })
	}
	return group.Wait()
}

func (n *Nodes) renew(ctx context.Context) error {
	tick := n.clock.NewTicker(renewPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		case <-n.wake:
		}
		if err := n.each(ctx, n.beat); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Could not show that a simulated node lives")
		}
	}
}

// beat shows that the node lives, unless it is silent.
func (n *Nodes) beat(ctx context.Context, name string) error {
	if n.silent(name) {
		return nil
	}
	missed := n.woken(name)
	if err := n.lease(ctx, name); err != nil {
		return err
	}
	node, exists := n.node(name)
	if !exists || ready(node) && !missed {
		return nil
	}
	if err := n.announce(ctx, node); err != nil {
		n.silence(name)
		return err
	}
	for _, object := range n.informer.GetStore().List() {
		if p, ok := object.(*corev1.Pod); ok && p.Spec.NodeName == name {
			n.writer.Forget(p.UID) // others wrote its status
			n.observe(p)
		}
	}
	return nil
}

func (n *Nodes) node(name string) (*corev1.Node, bool) {
	object, exists, err := n.nodes.GetStore().GetByKey(name)
	if err != nil || !exists {
		return nil, false
	}
	node, ok := object.(*corev1.Node)
	return node, ok
}

// silent reports whether the node is cut off now, and notes that it misses something.
func (n *Nodes) silent(name string) bool {
	node, ok := n.node(name)
	if !ok || node.Annotations[SilentAnnotation] != "true" {
		return false
	}
	n.silence(name)
	return true
}

func (n *Nodes) silence(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.missed[name] = true
}

// woken reports whether the node has missed something since it was asked last.
func (n *Nodes) woken(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	missed := n.missed[name]
	delete(n.missed, name)
	return missed
}

func ready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// observeNode has the node woken as soon as it isn't silent any more.
func (n *Nodes) observeNode(before, after any) {
	was, ok := before.(*corev1.Node)
	is, also := after.(*corev1.Node)
	if !ok || !also || was.Annotations[SilentAnnotation] == is.Annotations[SilentAnnotation] && ready(was) == ready(is) {
		return
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// register makes the node with its lease and status.
func (n *Nodes) register(ctx context.Context, name string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", Label: "true",
	}}}
	got, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		got, err = n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("registering simulated node %s: %w", name, err)
	}
	if err := n.announce(ctx, got); err != nil {
		return err
	}
	return n.lease(ctx, name)
}

// announce writes that the node is ready. Controllers, who give a new node its range of addresses and its taints, may
// write it at the same time.
func (n *Nodes) announce(ctx context.Context, node *corev1.Node) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		got := node.DeepCopy()
		got.Status.Capacity, got.Status.Allocatable = n.config.Capacity, n.config.Capacity
		got.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: n.config.Version, OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "simulated://1"}
		got.Status.Conditions = conditions(metav1.NewTime(n.clock.Now()))
		_, err := n.client.CoreV1().Nodes().UpdateStatus(ctx, got, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			now, again := n.client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
			if again != nil {
				return again
			}
			node = now
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the status of simulated node %s: %w", node.Name, err)
	}
	return nil
}

func conditions(now metav1.Time) []corev1.NodeCondition {
	made := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: t, Status: s, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return []corev1.NodeCondition{
		made(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		made(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		made(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		made(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
	}
}

// lease makes or renews the node's lease.
func (n *Nodes) lease(ctx context.Context, name string) error {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, seconds := metav1.NewMicroTime(n.clock.Now()), int32(leaseSeconds)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now}
	held, err := leases.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: corev1.NamespaceNodeLease}, Spec: spec}, metav1.CreateOptions{})
	case err == nil:
		held = held.DeepCopy()
		held.Spec = spec
		_, err = leases.Update(ctx, held, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renewing the lease of simulated node %s: %w", name, err)
	}
	return nil
}

// ours reports whether a pod is on a simulated node.
func (n *Nodes) ours(p *corev1.Pod) bool { return strings.HasPrefix(p.Spec.NodeName, n.config.Prefix) }

// observe brings a pod's status to where its spec leads at once.
func (n *Nodes) observe(object any) {
	p, ok := object.(*corev1.Pod)
	if !ok || !n.ours(p) || n.silent(p.Spec.NodeName) {
		return
	}
	status := n.status(p)
	if overwritten(p.Status, status) {
		n.writer.Forget(p.UID)
	}
	n.writer.Set(p, status, p.DeletionTimestamp != nil)
}

// overwritten answers whether somebody else says otherwise of the pod's readiness: the node's controller does, as late as
// when the node is back.
func overwritten(is, should corev1.PodStatus) bool {
	said, ours := readiness(is), readiness(should)
	return said != "" && said != ours
}

func readiness(s corev1.PodStatus) corev1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status
		}
	}
	return ""
}

func (n *Nodes) forget(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	p, ok := object.(*corev1.Pod)
	if !ok || !n.ours(p) {
		return
	}
	n.writer.Forget(p.UID)
	n.mu.Lock()
	delete(n.ips, string(p.UID))
	n.mu.Unlock()
}

// ip is the pod's address, the same for all its life.
func (n *Nodes) ip(p *corev1.Pod) string {
	if p.Status.PodIP != "" {
		return p.Status.PodIP
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := n.ips[string(p.UID)]; known != "" {
		return known
	}
	out := n.next.String()
	n.next = n.next.Next()
	if !n.config.PodCIDR.Contains(n.next) {
		n.next = n.config.PodCIDR.Masked().Addr().Next()
	}
	n.ips[string(p.UID)] = out
	return out
}
