package node

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// A lease is renewed four times in its duration.
const renewalsPerDuration = 4

// renewLease keeps the node's lease until ctx ends. The lease is left to run out: an ending process is not a dead node.
func (r *Reporter) renewLease(ctx context.Context) {
	seconds := int32(r.config.LeaseDuration.Seconds())
	failing := func() {
		klog.FromContext(ctx).Info("The node's lease cannot be renewed", "node", r.config.Name)
	}
	lease.NewController(
		clock.RealClock{}, r.deps.Client, r.config.Name, seconds, failing,
		r.config.LeaseDuration/renewalsPerDuration, r.config.Name, corev1.NamespaceNodeLease, r.ownLease,
	).Run(ctx)
}

// ownLease makes the lease go with its Node.
func (r *Reporter) ownLease(l *coordinationv1.Lease) error {
	if len(l.OwnerReferences) > 0 {
		return nil
	}
	if node := r.latest.get(); node != nil && node.UID != "" {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	}
	return nil
}
