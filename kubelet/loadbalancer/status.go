package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// write gives a Service the addresses now, and no other of this node's.
func (b *Balancer) write(ctx context.Context, s *corev1.Service, now []netip.Addr) error {
	want := Points(s.Status.LoadBalancer.Ingress, now, b.config.Addresses, b.nodeAddresses())
	if equal(s.Status.LoadBalancer.Ingress, want) {
		return nil
	}
	update := s.DeepCopy()
	update.Status.LoadBalancer.Ingress = want
	if _, err := b.client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, update, metav1.UpdateOptions{FieldManager: Component}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the addresses of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// nodeAddresses are those of the cluster's nodes. They stay known when a node goes.
func (b *Balancer) nodeAddresses() map[string]bool {
	out := map[string]bool{}
	nodes, err := b.nodes.List(labels.Everything())
	if err != nil {
		return out
	}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				out[a.Address], b.known[a.Address] = true, true
			}
		}
	}
	return out
}

// recognize gets to know addresses that nodes had before the start: this node may have others since. They are in statuses
// that the balancer wrote, which caches don't tell. It is false if some could not be asked for.
func (b *Balancer) recognize(ctx context.Context, services []*corev1.Service) bool {
	done, foreign := true, map[types.UID]string{}
	for _, s := range services {
		if !balanced(s) || s.Spec.LoadBalancerClass != nil || !slices.ContainsFunc(s.Status.LoadBalancer.Ingress, b.unknown) {
			continue
		}
		if b.foreign[s.UID] == s.ResourceVersion && s.ResourceVersion != "" {
			foreign[s.UID] = s.ResourceVersion
			continue
		}
		now, err := b.client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			klog.FromContext(ctx).V(2).Info("Trying again", "service", klog.KObj(s), "err", err)
			done = false
		case now.ResourceVersion != s.ResourceVersion: // what changed it comes by the watch, too
		case !wroteStatus(now.ManagedFields):
			foreign[s.UID] = s.ResourceVersion
		default:
			for _, p := range s.Status.LoadBalancer.Ingress {
				b.known[p.IP] = true
			}
		}
	}
	b.foreign = foreign
	return done
}

func (b *Balancer) unknown(p corev1.LoadBalancerIngress) bool { return p.IP != "" && !b.known[p.IP] }

func wroteStatus(entries []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == Component && e.Subresource == "status" })
}

func equal(a, b []corev1.LoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.LoadBalancerIngress) bool {
		return x.IP == y.IP && x.Hostname == y.Hostname && (x.IPMode == nil || *x.IPMode == corev1.LoadBalancerIPModeVIP)
	})
}
