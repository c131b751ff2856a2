package servicecidr

import (
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// Finalizer keeps a ServiceCIDR while Services have addresses of it.
	Finalizer = "networking.k8s.io/service-cidr-finalizer"
	// propagation is how long a deleted range is kept at least, so that no
	// server still takes addresses of it.
	propagation = 10 * time.Second
	// addressManager marks the addresses that Services have.
	addressManager = "ipallocator.k8s.io"

	readyMessage = "Kubernetes Service CIDR is ready"
	usedMessage  = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)

// State is what the decision about one ServiceCIDR is made of.
type State struct {
	CIDR      *networkingv1.ServiceCIDR
	All       []*networkingv1.ServiceCIDR // with CIDR
	Addresses []*networkingv1.IPAddress
}

// Action is what to do about a ServiceCIDR. The zero value is nothing.
type Action struct {
	AddFinalizer, RemoveFinalizer bool
	// Condition is what Ready becomes.
	Condition *metav1.Condition
	// After is when to look again without an event.
	After time.Duration
}

// Plan says what a ServiceCIDR needs at the time.
func Plan(s State, now time.Time) (a Action) {
	held := slices.Contains(s.CIDR.Finalizers, Finalizer)
	if s.CIDR.DeletionTimestamp == nil {
		a.AddFinalizer = !held
		a.Condition = s.changed(metav1.ConditionTrue, "", readyMessage, now)
		return a
	}
	if s.needed() {
		a.Condition = s.changed(metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating, usedMessage, now)
		return a
	}
	if wait := propagation - now.Sub(s.CIDR.DeletionTimestamp.Time); wait > 0 {
		a.After = wait
		return a
	}
	a.RemoveFinalizer = held
	return a
}

// changed is the Ready condition, nil if it is as it should be.
func (s State) changed(status metav1.ConditionStatus, reason, message string, now time.Time) *metav1.Condition {
	have := meta.FindStatusCondition(s.CIDR.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if have != nil && have.Status == status && have.Reason == reason && have.Message == message {
		return nil
	}
	return &metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now),
	}
}

// needed reports whether an address would be left without a range.
func (s State) needed() bool {
	others := map[string][]netip.Prefix{}
	for _, c := range s.All {
		if c.Name != s.CIDR.Name {
			others[c.Name] = prefixes(c)
		}
	}
	own := prefixes(s.CIDR)
	elsewhere := func(match func(netip.Prefix) bool) bool {
		for _, ranges := range others {
			if slices.ContainsFunc(ranges, match) {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(own, func(p netip.Prefix) bool {
		return !elsewhere(func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) })
	}) {
		return false // each of its ranges lies in another's
	}
	for _, a := range s.Addresses {
		ip, err := netip.ParseAddr(a.Name)
		if err != nil || a.Labels[networkingv1.LabelManagedBy] != addressManager {
			continue
		}
		in := func(p netip.Prefix) bool { return has(p, ip) }
		if slices.ContainsFunc(own, in) && !elsewhere(in) {
			return true
		}
	}
	return false
}

// has reports whether a Service can have the address of the range: neither the
// network's own nor, of IPv4, the broadcast address.
func has(p netip.Prefix, ip netip.Addr) bool {
	if !p.Contains(ip) || ip == p.Masked().Addr() {
		return false
	}
	return !ip.Is4() || p.Contains(ip.Next())
}

func prefixes(c *networkingv1.ServiceCIDR) (out []netip.Prefix) {
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}
