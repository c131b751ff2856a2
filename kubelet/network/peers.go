package network

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// Mode is how packets travel between the pods of different nodes.
type Mode string

// The modes.
const (
	// HostGateway routes each node's pod range to the node itself. All nodes must be on one L2 segment.
	HostGateway Mode = "host-gw"
	// VXLAN carries pods' packets in UDP between the nodes' addresses (RFC 7348), across routers too.
	VXLAN Mode = "vxlan"
)

// PeersConfig says how this node reaches others' pods.
type PeersConfig struct {
	// Node is this node's name, Address its address.
	Node    string
	Address netip.Addr
	// ClusterCIDRs are the pod ranges of the whole cluster; routes for others are never touched.
	ClusterCIDRs []netip.Prefix
	Mode         Mode
	// LinkName is the VXLAN link; nothing else on the host may use it.
	LinkName string
}

// PeersDeps is what that needs from its surroundings.
type PeersDeps struct {
	// Informers hold all nodes.
	Informers informers.SharedInformerFactory
	// Events takes what a user should know of; nil drops it.
	Events record.EventRecorder
}

// Peers keeps the routes to other nodes' pods.
type Peers struct {
	config   PeersConfig
	events   record.EventRecorder
	informer cache.SharedIndexInformer
	nodes    corelisters.NodeLister
	changed  chan struct{}
	told     map[string]string // the last problem with each peer
}

// NewPeers registers what it needs with the shared informers.
func NewPeers(config PeersConfig, deps PeersDeps) (*Peers, error) {
	if config.Mode != HostGateway && config.Mode != VXLAN {
		return nil, fmt.Errorf("network between nodes: %q is not known: use %s or %s", config.Mode, HostGateway, VXLAN)
	}
	nodes := deps.Informers.Core().V1().Nodes()
	return &Peers{
		config: config, events: deps.Events, informer: nodes.Informer(), nodes: nodes.Lister(),
		changed: make(chan struct{}, 1), told: map[string]string{},
	}, nil
}

// Run keeps the routes until ctx ends, and leaves them in place; see CleanupPeers.
func (p *Peers) Run(ctx context.Context) error {
	wake := func(any) {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
	registration, err := p.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: wake, DeleteFunc: wake,
		UpdateFunc: func(before, after any) {
			if moved(before, after) {
				wake(after)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	defer func() { _ = p.informer.RemoveEventHandler(registration) }()
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil
	}
	ticker := time.NewTicker(repairPeriod)
	defer ticker.Stop()
	for {
		p.sync(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
		case <-ticker.C:
		}
	}
}

// moved reports whether an update may change a route: most are heartbeats.
func moved(before, after any) bool {
	b, ok := before.(*corev1.Node)
	a, also := after.(*corev1.Node)
	return !ok || !also || b.UID != a.UID || !slices.Equal(ranges(b), ranges(a)) || address(b) != address(a)
}

// sync brings the kernel to what the nodes say.
func (p *Peers) sync(ctx context.Context) {
	nodes, err := p.nodes.List(labels.Everything())
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing nodes")
		return
	}
	plan := PlanPeers(nodes, p.config)
	problems, err := p.config.apply(plan)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Routing to other nodes' pods")
		return
	}
	p.tell(ctx, problems)
}

// tell reports problems that are new, as upstream's route controller does.
func (p *Peers) tell(ctx context.Context, problems map[string]string) {
	for peer, problem := range problems {
		if p.told[peer] == problem {
			continue
		}
		klog.FromContext(ctx).Info("Pods of another node can't be reached", "node", peer, "problem", problem)
		if p.events != nil {
			ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: p.config.Node}
			p.events.Eventf(ref, corev1.EventTypeWarning, "FailedToCreateRoute", "Could not create route to the pods of node %s: %s", peer, problem)
		}
	}
	p.told = problems
}

// Peer is another node whose pods are to be reached.
type Peer struct {
	Node     string
	Address  netip.Addr
	PodCIDRs []netip.Prefix
}

// PeerPlan is what is to be reached, and this node's own ranges.
type PeerPlan struct {
	Own   []netip.Prefix
	Peers []Peer // by name
}

// PlanPeers answers the peers of a node: all others that have an address and a range of pods within the cluster's that
// isn't this node's.
func PlanPeers(nodes []*corev1.Node, c PeersConfig) PeerPlan {
	var plan PeerPlan
	for _, n := range nodes {
		if n.Name == c.Node {
			plan.Own = ranges(n)
		}
	}
	for _, n := range nodes {
		peer := Peer{Node: n.Name, Address: address(n)}
		if n.Name == c.Node || !peer.Address.IsValid() || peer.Address == c.Address {
			continue
		}
		for _, r := range ranges(n) {
			if within(r, c.ClusterCIDRs) && !overlaps(r, plan.Own) && r.Addr().Is4() == peer.Address.Is4() {
				peer.PodCIDRs = append(peer.PodCIDRs, r)
			}
		}
		if len(peer.PodCIDRs) > 0 {
			plan.Peers = append(plan.Peers, peer)
		}
	}
	slices.SortFunc(plan.Peers, func(a, b Peer) int { return cmp.Compare(a.Node, b.Node) })
	return plan
}

func within(r netip.Prefix, all []netip.Prefix) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Bits() <= r.Bits() && p.Overlaps(r) })
}

func overlaps(r netip.Prefix, all []netip.Prefix) bool {
	return slices.ContainsFunc(all, r.Overlaps)
}

// ranges are a node's pod ranges.
func ranges(n *corev1.Node) (out []netip.Prefix) {
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 {
		texts = []string{n.Spec.PodCIDR}
	}
	for _, text := range texts {
		if r, err := netip.ParsePrefix(text); err == nil {
			out = append(out, r.Masked())
		}
	}
	return out
}

// address is where other nodes reach a node.
func address(n *corev1.Node) netip.Addr {
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}
