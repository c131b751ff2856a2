package servicecidr

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func cidr(name string, ranges ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{Finalizer}}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: ranges},
	}
}

func deleted(c *networkingv1.ServiceCIDR, ago time.Duration) *networkingv1.ServiceCIDR {
	c.DeletionTimestamp = &metav1.Time{Time: now.Add(-ago)}
	return c
}

func ready(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDR {
	c.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Message: readyMessage}}
	return c
}

func address(name, manager string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{networkingv1.LabelManagedBy: manager}}}
}

func TestPlan(t *testing.T) {
	bare := cidr("a", "10.0.0.0/24")
	bare.Finalizers = nil
	for name, tt := range map[string]struct {
		cidr      *networkingv1.ServiceCIDR
		others    []*networkingv1.ServiceCIDR
		addresses []*networkingv1.IPAddress
		add, free bool
		status    metav1.ConditionStatus
		after     time.Duration
	}{
		"new":     {cidr: bare, add: true, status: "True"},
		"unready": {cidr: cidr("a", "10.0.0.0/24"), status: "True"},
		"settled": {cidr: ready(cidr("a", "10.0.0.0/24"))},
		"deleted a moment ago, unused": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), 4*time.Second), after: 6 * time.Second,
		},
		"deleted long ago, unused": {cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), free: true},
		"used": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), addresses: []*networkingv1.IPAddress{address("10.0.0.7", addressManager)}, status: "False",
		},
		"used by somebody else's address": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), addresses: []*networkingv1.IPAddress{address("10.0.0.7", "gateway")}, free: true,
		},
		"used in another family": {
			cidr: deleted(cidr("a", "10.0.0.0/24", "fd00::/112"), time.Minute), addresses: []*networkingv1.IPAddress{address("fd00::5", addressManager)}, status: "False",
		},
		"used, but within a larger range": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), others: []*networkingv1.ServiceCIDR{cidr("b", "10.0.0.0/16")},
			addresses: []*networkingv1.IPAddress{address("10.0.0.7", addressManager)}, free: true,
		},
		"used, within an equal range": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), others: []*networkingv1.ServiceCIDR{cidr("b", "10.0.0.0/24")},
			addresses: []*networkingv1.IPAddress{address("10.0.0.7", addressManager)}, free: true,
		},
		"used where a smaller range is too": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), others: []*networkingv1.ServiceCIDR{cidr("b", "10.0.0.0/28")},
			addresses: []*networkingv1.IPAddress{address("10.0.0.7", addressManager)}, free: true,
		},
		"used at the smaller range's broadcast address": {
			cidr: deleted(cidr("a", "10.0.0.0/24"), time.Minute), others: []*networkingv1.ServiceCIDR{cidr("b", "10.0.0.0/28")},
			addresses: []*networkingv1.IPAddress{address("10.0.0.15", addressManager)}, status: "False",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Plan(State{CIDR: tt.cidr, All: append(tt.others, tt.cidr), Addresses: tt.addresses}, now)
			var status metav1.ConditionStatus
			if got.Condition != nil {
				status = got.Condition.Status
			}
			if got.AddFinalizer != tt.add || got.RemoveFinalizer != tt.free || status != tt.status || got.After != tt.after {
				t.Errorf("got %+v", got)
			}
		})
	}
}
