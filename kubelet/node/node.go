// Package node keeps this node's Node object: it registers it, reports its status and renews its lease.
//
// What the status shall be is decided purely, from facts about the machine (machine.go, capacity.go) and one observation
// of the runtime (conditions.go, status.go); the reporter observes, decides and patches. A report is made when the
// decision differs from what the API has, and every five minutes so that conditions carry a recent heartbeat. Liveness
// itself is told by the lease, every ten seconds.
package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"skiff/kubelet/cri"
)

// Config says what the node is and how it reports. Zero values of the numbers mean their defaults.
type Config struct {
	// Name is the Node's name, Hostname what it answers to; empty means the name.
	Name, Hostname string
	// IPs are the addresses to announce; empty means those of the interface with the default route.
	IPs []netip.Addr
	// Port is the port of the node's HTTPS endpoint.
	Port int32
	// Version is the kubelet version to announce.
	Version string
	// Root is the directory whose filesystem holds pods' data; it gives the ephemeral storage.
	Root string
	// Labels and Taints are given to the Node when it is registered. Labels are kept up later too.
	Labels map[string]string
	Taints []corev1.Taint
	// Unschedulable registers the Node cordoned.
	Unschedulable bool
	// MaxPods is how many pods may run; 110 by default.
	MaxPods int64
	// Reserved is kept from pods for the system and this process.
	Reserved corev1.ResourceList
	// EvictionMemory and EvictionStorage are what must stay free: bytes (100Mi), and a share of the filesystem (0.1).
	EvictionMemory  resource.Quantity
	EvictionStorage float64
	// StatusInterval is how often to observe (10 s), ReportInterval how often to report without a change (5 min).
	StatusInterval, ReportInterval time.Duration
	// LeaseDuration is how long the node counts as alive after a renewal (40 s); it is renewed every quarter of that.
	LeaseDuration time.Duration
}

// Runtime is the container runtime, whose state decides whether the node is ready.
type Runtime interface {
	Status(ctx context.Context) (cri.Status, error)
	Version(ctx context.Context) (name, version string, err error)
}

// Images lists the images on the node.
type Images interface {
	Images(ctx context.Context) ([]cri.Image, error)
}

// Pressure says which resources the node runs short of.
type Pressure struct {
	Memory, Disk, PID bool
}

// Deps is what the reporter works with.
type Deps struct {
	// Client speaks as the node.
	Client kubernetes.Interface
	// Informers hold the Node, for its pod CIDRs and to notice others' changes.
	Informers informers.SharedInformerFactory
	Runtime   Runtime
	Images    Images
	// Pressure answers the present shortage; nil means none.
	Pressure func() Pressure
	// VolumesInUse answers the volumes that may not be detached, sorted; nil means none. Poke says that they changed.
	VolumesInUse func() []corev1.UniqueVolumeName
	// Ready answers a reason why the node is not ready besides the runtime's, or nil; nil means there is none.
	Ready func() error
	// Events takes the node's events; nil drops them.
	Events record.EventRecorder
}

// Reporter keeps the Node object.
type Reporter struct {
	config  Config
	deps    Deps
	machine machine
	nodes   cache.SharedIndexInformer
	poked   chan struct{}
	latest  *latest
}

// New examines the machine. It registers an informer, so it has to run before the factory is started.
func New(config Config, deps Deps) (*Reporter, error) {
	if config.Name == "" {
		return nil, errors.New("a node needs a name")
	}
	config = withDefaults(config)
	facts, err := readMachine(hostRoot, config.Root)
	if err != nil {
		return nil, fmt.Errorf("examining the machine: %w", err)
	}
	if len(config.IPs) == 0 {
		if config.IPs, err = hostAddresses(); err != nil {
			return nil, fmt.Errorf("finding the node's address: %w", err)
		}
	}
	return &Reporter{
		config: config, deps: deps, machine: facts,
		nodes:  deps.Informers.Core().V1().Nodes().Informer(),
		poked:  make(chan struct{}, 1),
		latest: newLatest(),
	}, nil
}

func withDefaults(c Config) Config {
	if c.Hostname == "" {
		c.Hostname = c.Name
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.EvictionMemory.IsZero() {
		c.EvictionMemory = resource.MustParse("100Mi")
	}
	if c.EvictionStorage == 0 {
		c.EvictionStorage = 0.1
	}
	if c.StatusInterval == 0 {
		c.StatusInterval = 10 * time.Second
	}
	if c.ReportInterval == 0 {
		c.ReportInterval = 5 * time.Minute
	}
	if c.LeaseDuration == 0 {
		c.LeaseDuration = 40 * time.Second
	}
	return c
}

// Run registers the node and keeps its status and lease until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	handle, err := r.nodes.AddEventHandler(r.nodeEvents())
	if err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	defer func() { _ = r.nodes.RemoveEventHandler(handle) }()
	r.event(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	registered, err := r.register(ctx)
	if err != nil {
		return nil // registering is tried until ctx ends, which is no failure
	}
	r.latest.set(registered)
	loops, ctx := errgroup.WithContext(ctx)
	loops.Go(func() error { r.reportStatus(ctx); return nil })
	loops.Go(func() error { r.renewLease(ctx); return nil })
	return loops.Wait()
}

// Poke makes the reporter observe the node now instead of at the next interval.
func (r *Reporter) Poke() {
	select {
	case r.poked <- struct{}{}:
	default:
	}
}

// Capacity is what the machine has.
func (r *Reporter) Capacity() corev1.ResourceList { return capacityOf(r.config, r.machine) }

// Allocatable is what of it pods may request.
func (r *Reporter) Allocatable() corev1.ResourceList {
	return allocatableOf(r.config, r.machine, r.Capacity())
}

// Ready says whether the node was last reported as ready.
func (r *Reporter) Ready() bool {
	node := r.latest.get()
	if node == nil {
		return false
	}
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return node.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// PodCIDRs waits until the node has been given addresses for its pods, and answers them.
func (r *Reporter) PodCIDRs(ctx context.Context) ([]netip.Prefix, error) {
	for {
		node, changed := r.latest.watch()
		if cidrs := podCIDRs(node); len(cidrs) > 0 {
			prefixes := make([]netip.Prefix, 0, len(cidrs))
			for _, text := range cidrs {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					return nil, fmt.Errorf("reading the node's pod CIDR: %w", err)
				}
				prefixes = append(prefixes, prefix)
			}
			return prefixes, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the node's pod CIDR: %w", ctx.Err())
		case <-changed:
		}
	}
}

func podCIDRs(node *corev1.Node) []string {
	switch {
	case node == nil:
		return nil
	case len(node.Spec.PodCIDRs) > 0:
		return node.Spec.PodCIDRs
	case node.Spec.PodCIDR != "":
		return []string{node.Spec.PodCIDR}
	}
	return nil
}
