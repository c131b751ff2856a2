package bootstrap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"
)

const (
	identityLabel = "apiserver.kubernetes.io/identity"
	identityName  = "kube-apiserver"
	// An identity is known to be stale an hour after the server's last word.
	identitySeconds    = 3600
	identityRenewEvery = 10 * time.Second
)

// Identity is a lease in kube-system by which a server is known to others.
type Identity struct {
	Client    Bootstrap
	ServerID  string // names the lease
	Advertise netip.Addr
	Port      int32

	controller lease.Controller // nil until claimed
}

// Claim forgets an earlier run of the server. It must come before Run.
func (i *Identity) Claim(ctx context.Context) error {
	err := i.Client.Client.CoordinationV1().Leases(metav1.NamespaceSystem).Delete(ctx, i.ServerID, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting the lease of an earlier run: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding the host's name: %w", err)
	}
	holder := i.ServerID + "_" + string(uuid.NewUUID())
	i.controller = lease.NewController(clock.RealClock{}, i.Client.Client, holder, identitySeconds, nil, identityRenewEvery,
		i.ServerID, metav1.NamespaceSystem, func(l *coordinationv1.Lease) error {
			metav1.SetMetaDataLabel(&l.ObjectMeta, identityLabel, identityName)
			metav1.SetMetaDataLabel(&l.ObjectMeta, corev1.LabelHostname, host)
			metav1.SetMetaDataAnnotation(&l.ObjectMeta, corev1.AnnotationPeerAdvertiseAddress, net.JoinHostPort(i.Advertise.String(), strconv.Itoa(int(i.Port))))
			return nil
		})
	return nil
}

// Run renews the lease until ctx ends.
func (i *Identity) Run(ctx context.Context) { i.controller.Run(ctx) }

// Release ends Run and deletes the lease.
func (i *Identity) Release() {
	if i.controller != nil {
		i.controller.Stop()
	}
}

// ForgetServers deletes the identities of servers that have long been silent.
func (b Bootstrap) ForgetServers(ctx context.Context) error {
	leases := b.Client.CoordinationV1().Leases(metav1.NamespaceSystem)
	list, err := leases.List(ctx, metav1.ListOptions{LabelSelector: identityLabel + "=" + identityName})
	if err != nil {
		return fmt.Errorf("listing the servers' leases: %w", err)
	}
	now := time.Now() //nolint:forbidigo // other hosts' clocks wrote the times
	for _, l := range list.Items {
		if !expired(l.Spec, now) {
			continue
		}
		err := leases.Delete(ctx, l.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &l.ResourceVersion}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting the lease of %s: %w", l.Name, err)
		}
	}
	return nil
}

// expired reports whether a lease has ended; one without times never began.
func expired(s coordinationv1.LeaseSpec, now time.Time) bool {
	return s.RenewTime == nil || s.LeaseDurationSeconds == nil || s.RenewTime.Add(time.Duration(*s.LeaseDurationSeconds)*time.Second).Before(now)
}
