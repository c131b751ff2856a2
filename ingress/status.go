package ingress

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// A failed write is tried again after firstRetry, then at growing intervals up to lastRetry.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// statuses writes the addresses at which Ingresses are served. Several nodes may serve the same ones: each sees to its own
// addresses and leaves those of other nodes alone.
type statuses struct {
	of      *Ingress
	nodes   corelisters.NodeLister
	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName]
	serving atomic.Bool   // a port is open
	ready   chan struct{} // closed once it is known whether one is

	last map[string]bool // what moved compares with; of the handler of nodes
}

func newStatuses(of *Ingress, nodes corelisters.NodeLister) *statuses {
	return &statuses{of: of, nodes: nodes, ready: make(chan struct{}), queue: workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry))}
}

func (s *statuses) add(object any) {
	if m, ok := object.(metav1.Object); ok {
		s.queue.Add(types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetName()})
	}
}

func (s *statuses) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.queue.ShutDown)
	defer stop()
	select {
	case <-ctx.Done():
		return
	case <-s.ready: // before that, addresses from before a restart would be taken away for a moment
	}
	for {
		key, ended := s.queue.Get()
		if ended {
			return
		}
		err := s.reconcile(ctx, key)
		s.queue.Done(key)
		if err == nil || ctx.Err() != nil {
			s.queue.Forget(key)
			continue
		}
		klog.FromContext(ctx).V(2).Info("Trying again", "ingress", key, "err", err)
		s.queue.AddRateLimited(key)
	}
}

func (s *statuses) reconcile(ctx context.Context, key types.NamespacedName) error {
	in, err := s.of.ingresses.Ingresses(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && in.DeletionTimestamp != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading Ingress %s: %w", key, err)
	}
	own := slices.Clone(s.of.config.Addresses)
	ours := s.of.ours(in)
	if !ours || !s.serving.Load() {
		own = nil
	}
	want := Addresses(in.Status.LoadBalancer.Ingress, own, s.of.config.Addresses, s.others())
	if !ours {
		want = without(in.Status.LoadBalancer.Ingress, s.of.config.Addresses)
	}
	if equal(want, in.Status.LoadBalancer.Ingress) {
		return nil
	}
	client := s.of.client.NetworkingV1().Ingresses(key.Namespace)
	update := in.DeepCopy()
	if !ours {
		// Others may serve it at the same addresses: only what was written by this controller is taken back.
		if update, err = client.Get(ctx, key.Name, metav1.GetOptions{}); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("reading Ingress %s: %w", key, err)
		}
		if update.ResourceVersion != in.ResourceVersion || !wroteStatus(update.ManagedFields) {
			return nil // what changed it comes by the watch, too
		}
	}
	update.Status.LoadBalancer.Ingress = want
	if _, err := client.UpdateStatus(ctx, update, metav1.UpdateOptions{FieldManager: Component}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the addresses of Ingress %s: %w", key, err)
	}
	return nil
}

func wroteStatus(entries []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == Component && e.Subresource == "status" })
}

// others are the addresses of the cluster's nodes.
func (s *statuses) others() map[string]bool {
	out := map[string]bool{}
	nodes, err := s.nodes.List(labels.Everything())
	if err != nil {
		return out
	}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				out[a.Address] = true
			}
		}
	}
	return out
}

// moved reports whether the nodes' addresses changed since it was asked last.
func (s *statuses) moved() bool {
	before := s.last
	s.last = s.others()
	return !maps.Equal(before, s.last)
}

// Addresses answers what an Ingress's status is to be: of what it has, those of other nodes that exist, and those at which
// this node serves it now, which are some of its own or none.
func Addresses(has []networkingv1.IngressLoadBalancerIngress, now, own []netip.Addr, nodes map[string]bool) []networkingv1.IngressLoadBalancerIngress {
	var out []networkingv1.IngressLoadBalancerIngress
	for _, point := range without(has, own) {
		if nodes[point.IP] {
			out = append(out, networkingv1.IngressLoadBalancerIngress{IP: point.IP})
		}
	}
	for _, a := range now {
		out = append(out, networkingv1.IngressLoadBalancerIngress{IP: a.String()})
	}
	slices.SortFunc(out, func(a, b networkingv1.IngressLoadBalancerIngress) int { return strings.Compare(a.IP, b.IP) })
	return out
}

// without leaves out the points with one of the addresses.
func without(points []networkingv1.IngressLoadBalancerIngress, own []netip.Addr) (out []networkingv1.IngressLoadBalancerIngress) {
	for _, point := range points {
		if a, err := netip.ParseAddr(point.IP); err != nil || !slices.Contains(own, a) {
			out = append(out, point)
		}
	}
	return out
}

func equal(a, b []networkingv1.IngressLoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(x, y networkingv1.IngressLoadBalancerIngress) bool {
		return x.IP == y.IP && x.Hostname == y.Hostname && len(x.Ports) == len(y.Ports)
	})
}
