package core

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// grace is how long something may be taken whose Service can't be seen: no
// request that takes it lasts longer.
const grace = time.Minute

// addressRepair is one thing to do about an address: first delete its object,
// then make it anew for a Service; either, or neither, and say so.
type addressRepair struct {
	ip     string
	delete bool
	create *corev1.Service
	// what the event says; about is a Service or an IPAddress
	kind, reason, note string
	about              any
}

// addressState is what the repair of addresses looks at.
type addressState struct {
	services  []*corev1.Service
	addresses []*networkingv1.IPAddress
	ranges    []addressRange // of all ServiceCIDRs
}

// repairs compares what Services hold with the IPAddresses there are: each
// cluster IP must have one that names its Service, each one of ours a Service
// with that cluster IP.
func (s addressState) repairs(now time.Time) (out []addressRepair) {
	byName, holders := map[string]*networkingv1.IPAddress{}, map[string]*corev1.Service{}
	for _, a := range s.addresses {
		byName[a.Name] = a
	}
	for _, svc := range s.services {
		holders[svc.Namespace+"/"+svc.Name] = svc
	}
	for _, svc := range s.services {
		for _, text := range holdingOf(svc).ips {
			if r, ok := s.repairHeld(svc, text, byName, holders); ok {
				out = append(out, r)
			}
		}
	}
	for _, a := range s.addresses {
		if a.Labels[networkingv1.LabelManagedBy] != addressManager {
			continue
		}
		if r, ok := repairOrphan(a, holders, now); ok {
			out = append(out, r)
		}
	}
	return out
}

// repairHeld looks at one cluster IP of a Service.
func (s addressState) repairHeld(svc *corev1.Service, text string, byName map[string]*networkingv1.IPAddress, holders map[string]*corev1.Service) (addressRepair, bool) {
	r := addressRepair{ip: text, about: svc}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		r.kind, r.reason, r.note = "invalid", "ClusterIPNotValid", fmt.Sprintf("Cluster IP %s is not a valid IP; please recreate Service", text)
		return r, true
	}
	family := familyOf(ip)
	if !slices.ContainsFunc(s.ranges, func(x addressRange) bool { return x.contains(ip) }) {
		r.kind, r.reason = "outOfRange", "ClusterIPOutOfRange"
		r.note = fmt.Sprintf("Cluster IP [%v]: %s is not within any configured Service CIDR; please recreate service", family, ip)
		return r, true
	}
	a := byName[ip.String()]
	if a == nil {
		r.create, r.kind, r.reason = svc, "repair", "ClusterIPNotAllocated"
		r.note = fmt.Sprintf("Cluster IP [%v]: %s is not allocated; repairing", family, ip)
		return r, true
	}
	parent := parentOf(a)
	if !isService(parent) || (parent.Namespace != svc.Namespace || parent.Name != svc.Name) {
		other := holders[parent.Namespace+"/"+parent.Name]
		if isService(parent) && other != nil && slices.Contains(other.Spec.ClusterIPs, text) {
			r.kind, r.reason = "duplicate", "ClusterIPAlreadyAllocated"
			r.note = fmt.Sprintf("Cluster IP [%v]:%s was assigned to multiple services; please recreate service", family, ip)
			return r, true
		}
		r.delete, r.create, r.kind, r.reason = true, svc, "repair", "ClusterIPNotAllocated"
		r.note = fmt.Sprintf("the ClusterIP [%v]: %s for Service %s/%s has a wrong reference; repairing", family, ip, svc.Namespace, svc.Name)
		return r, true
	}
	if a.Labels[networkingv1.LabelManagedBy] != addressManager || a.Labels[networkingv1.LabelIPAddressFamily] != string(family) {
		r.delete, r.create, r.kind = true, svc, "repair" // without an event: nobody lost anything
		return r, true
	}
	return r, false
}

// repairOrphan looks at one address of ours from its other end.
func repairOrphan(a *networkingv1.IPAddress, holders map[string]*corev1.Service, now time.Time) (addressRepair, bool) {
	r := addressRepair{ip: a.Name, delete: true, kind: "leak", about: a}
	parent := parentOf(a)
	if !isService(parent) {
		r.reason = "IPAddressNotAllocated"
		r.note = fmt.Sprintf("IPAddress %s appears to have been modified, not referencing a Service %v: cleaning up", a.Name, a.Spec.ParentRef)
		return r, true
	}
	svc := holders[parent.Namespace+"/"+parent.Name]
	if svc != nil && slices.Contains(svc.Spec.ClusterIPs, a.Name) {
		return r, false
	}
	if now.Sub(a.CreationTimestamp.Time) <= grace {
		return r, false // its Service may be on its way
	}
	if svc == nil {
		r.reason = "IPAddressNotAllocated"
		r.note = fmt.Sprintf("IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", a.Name, parent.Namespace, parent.Name)
		return r, true
	}
	r.reason = "IPAddressWrongReference"
	r.note = fmt.Sprintf("IPAddress: %s for Service %s/%s has a wrong reference; cleaning up", a.Name, svc.Namespace, svc.Name)
	return r, true
}

func parentOf(a *networkingv1.IPAddress) networkingv1.ParentReference {
	if a.Spec.ParentRef == nil {
		return networkingv1.ParentReference{}
	}
	return *a.Spec.ParentRef
}

func isService(r networkingv1.ParentReference) bool { return r.Group == "" && r.Resource == "services" }

// portRepair is one thing to do about a node port.
type portRepair struct {
	port               int32
	free               bool
	take               *corev1.Service
	kind, reason, note string
	about              *corev1.Service
}

// portRepairs compares what Services hold with the taken ports. Ports that no
// Service holds are freed after the grace.
func portRepairs(taken map[int32]portRecord, services []corev1.Service, valid utilnet.PortRange, now time.Time) (out []portRepair) {
	holders := map[int32]*corev1.Service{}
	for i := range services {
		svc := &services[i]
		for _, n := range holdingOf(svc).ports {
			_, stored := taken[n]
			r := portRepair{port: n, about: svc}
			switch {
			case !valid.Contains(int(n)):
				r.kind, r.reason = "outOfRange", "PortOutOfRange"
				r.note = fmt.Sprintf("Port %d is not within the port range %s; please recreate service", n, valid)
			case holders[n] != nil:
				r.kind, r.reason = "duplicate", "PortAlreadyAllocated"
				r.note = fmt.Sprintf("Port %d was assigned to multiple services; please recreate service", n)
			case !stored:
				r.take, r.kind, r.reason = svc, "repair", "PortNotAllocated"
				r.note = fmt.Sprintf("Port %d is not allocated; repairing", n)
			}
			holders[n] = svc
			if r.kind != "" {
				out = append(out, r)
			}
		}
	}
	for n, record := range taken {
		if holders[n] == nil && now.Sub(record.created) > grace {
			out = append(out, portRepair{port: n, free: true, kind: "leak"})
		}
	}
	return out
}
