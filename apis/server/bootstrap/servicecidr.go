package bootstrap

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1apply "k8s.io/client-go/applyconfigurations/networking/v1"
)

// cidrManager is the field manager of the default ServiceCIDR's status.
const cidrManager = "kubernetes-service-cidr-controller"

// ServiceCIDR makes the default ServiceCIDR, of the given ranges, and says that
// it is ready. One that exists only gains a second family: which ranges Services
// have is no longer the server's to say.
func (b Bootstrap) ServiceCIDR(ctx context.Context, ranges []netip.Prefix) error {
	c := b.Client.NetworkingV1().ServiceCIDRs()
	cidrs := make([]string, len(ranges))
	for i, p := range ranges {
		cidrs[i] = p.String()
	}
	have, err := c.Get(ctx, serviceName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		want := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: serviceName}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
		if have, err = c.Create(ctx, want, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
			return nil // another server was faster
		}
	case err == nil && len(cidrs) == 2 && slices.Equal(have.Spec.CIDRs, cidrs[:1]):
		have.Spec.CIDRs = cidrs
		have, err = c.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("making the default service CIDR: %w", err)
	}
	ready := meta.FindStatusCondition(have.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if have.DeletionTimestamp != nil || !slices.Equal(have.Spec.CIDRs, cidrs) || (ready != nil && ready.Status != metav1.ConditionUnknown) {
		return nil
	}
	status := networkingv1apply.ServiceCIDRStatus().WithConditions(metav1apply.Condition().
		WithType(networkingv1.ServiceCIDRConditionReady).WithStatus(metav1.ConditionTrue).
		WithMessage("Kubernetes default Service CIDR is ready").WithLastTransitionTime(metav1.Now()))
	_, err = c.ApplyStatus(ctx, networkingv1apply.ServiceCIDR(serviceName).WithStatus(status), metav1.ApplyOptions{FieldManager: cidrManager, Force: true})
	if err != nil {
		return fmt.Errorf("writing the default service CIDR's status: %w", err)
	}
	return nil
}
