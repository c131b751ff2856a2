// Package hollow simulates nodes whose pods run instantly, for tests of scale: Node objects with leases, and pods bound to them
// that are Running and ready at once, done at once when they belong to a Job, and gone once they are deleted. No process runs.
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
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
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
}

// Nodes simulates nodes.
type Nodes struct {
	config   Config
	client   kubernetes.Interface
	informer cache.SharedIndexInformer
	writer   *status.Writer

	mu   sync.Mutex
	next netip.Addr
	ips  map[string]string
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
	return &Nodes{
		config: config, client: deps.Client, informer: deps.Informers.Core().V1().Pods().Informer(),
		writer: status.NewWriter(deps.Client.CoreV1()), next: config.PodCIDR.Masked().Addr().Next(), ips: map[string]string{},
	}, nil
}

// Name is the name of the node with a number.
func (n *Nodes) Name(i int) string { return fmt.Sprintf("%s%d", n.config.Prefix, i) }

// Run registers the nodes and simulates until ctx ends.
func (n *Nodes) Run(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), n.informer.HasSynced) {
		return nil
	}
	if err := n.each(ctx, n.register); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	registration, err := n.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    n.observe,
		UpdateFunc: func(_, object any) { n.observe(object) },
		DeleteFunc: n.forget,
	})
	if err != nil {
		return fmt.Errorf("following pods: %w", err)
	}
	defer func() { _ = n.informer.RemoveEventHandler(registration) }()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.writer.Run(ctx) })
	group.Go(func() error { return n.renew(ctx) })
	return group.Wait()
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
	tick := time.NewTicker(renewPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := n.each(ctx, n.lease); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Could not renew a simulated node's lease")
		}
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
	got = got.DeepCopy()
	got.Status.Capacity, got.Status.Allocatable = n.config.Capacity, n.config.Capacity
	got.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: n.config.Version, OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "simulated://1"}
	got.Status.Conditions = conditions(metav1.Now())
	if _, err := n.client.CoreV1().Nodes().UpdateStatus(ctx, got, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing the status of simulated node %s: %w", name, err)
	}
	return n.lease(ctx, name)
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
	now, seconds := metav1.NewMicroTime(time.Now()), int32(leaseSeconds)
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
	if !ok || !n.ours(p) {
		return
	}
	n.writer.Set(p, n.status(p), p.DeletionTimestamp != nil)
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

func (n *Nodes) status(p *corev1.Pod) corev1.PodStatus {
	over := p.DeletionTimestamp != nil || done(p)
	started := p.CreationTimestamp.Time
	in := status.Input{
		Pod: p, Sandbox: &cri.Sandbox{ID: string(p.UID), Ready: !over, IPs: []string{n.ip(p)}}, Phase: corev1.PodRunning, Initialized: true,
		Over: over, HostIPs: []string{"127.0.0.1"}, Runtime: "simulated", Now: time.Now(),
	}
	if over {
		in.Phase = corev1.PodSucceeded
	}
	for _, c := range p.Spec.InitContainers {
		runs := c.RestartPolicy != nil && !over
		in.Containers = append(in.Containers, container(p, c, started, runs))
	}
	for _, c := range p.Spec.Containers {
		in.Containers = append(in.Containers, container(p, c, started, !over))
	}
	return status.Compute(in)
}

func container(p *corev1.Pod, c corev1.Container, started time.Time, runs bool) cri.Container {
	out := cri.Container{ID: string(p.UID) + "-" + c.Name, Name: c.Name, Image: c.Image, ImageRef: c.Image, State: cri.Running, Created: started, Started: started}
	if !runs {
		out.State, out.Finished, out.Reason = cri.Exited, started, "Completed"
	}
	return out
}

// done reports whether the pod has reached its end, as those of Jobs do at once.
func done(p *corev1.Pod) bool {
	owner := metav1.GetControllerOf(p)
	return owner != nil && owner.Kind == "Job" && p.Spec.RestartPolicy != corev1.RestartPolicyAlways
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
