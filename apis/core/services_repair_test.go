package core

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

var repairTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func holder(name string, ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIPs: ips}}
	if len(ips) > 0 {
		s.Spec.ClusterIP = ips[0]
	}
	return s
}

func addressFor(svc, ip string, age time.Duration, change ...func(*networkingv1.IPAddress)) *networkingv1.IPAddress {
	a := addressOf(holder(svc), netip.MustParseAddr(ip))
	a.CreationTimestamp = metav1.NewTime(repairTime.Add(-age))
	for _, f := range change {
		f(a)
	}
	return a
}

func TestAddressRepairs(t *testing.T) {
	const old, young = time.Hour, time.Second
	gateway := func(a *networkingv1.IPAddress) {
		a.Spec.ParentRef.Group, a.Spec.ParentRef.Resource = "gateway.networking.k8s.io", "gateways"
	}
	unlabelled := func(a *networkingv1.IPAddress) { a.Labels = nil }
	for name, tt := range map[string]struct {
		services       []*corev1.Service
		addresses      []*networkingv1.IPAddress
		delete, create bool
		reason         string // of the one repair; none if all three are empty
	}{
		"settled":        {services: []*corev1.Service{holder("s", "10.0.0.1", "fd00::1")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old), addressFor("s", "fd00::1", old)}},
		"headless":       {services: []*corev1.Service{holder("s", "None")}},
		"missing":        {services: []*corev1.Service{holder("s", "10.0.0.1")}, create: true, reason: "ClusterIPNotAllocated"},
		"missing second": {services: []*corev1.Service{holder("s", "10.0.0.1", "fd00::1")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old)}, create: true, reason: "ClusterIPNotAllocated"},
		"no address":     {services: []*corev1.Service{holder("s", "10.0.0.x")}, reason: "ClusterIPNotValid"},
		"out of range":   {services: []*corev1.Service{holder("s", "172.16.0.1")}, reason: "ClusterIPOutOfRange"},
		"of a gateway": {
			services: []*corev1.Service{holder("s", "10.0.0.1")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old, gateway, unlabelled)},
			delete: true, create: true, reason: "ClusterIPNotAllocated",
		},
		"of a Service that is gone": {
			services: []*corev1.Service{holder("s", "10.0.0.1")}, addresses: []*networkingv1.IPAddress{addressFor("other", "10.0.0.1", young)},
			delete: true, create: true, reason: "ClusterIPNotAllocated",
		},
		"of two Services": {
			services: []*corev1.Service{holder("s", "10.0.0.1"), holder("t", "10.0.0.1")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old)},
			reason: "ClusterIPAlreadyAllocated",
		},
		"without labels": {
			services: []*corev1.Service{holder("s", "10.0.0.1")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old, unlabelled)}, delete: true, create: true,
		},
		"leaked":                         {addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old)}, delete: true, reason: "IPAddressNotAllocated"},
		"perhaps on its way":             {addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", young)}},
		"ours, but changed":              {addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", young, gateway)}, delete: true, reason: "IPAddressNotAllocated"},
		"somebody else's":                {addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old, gateway, unlabelled)}},
		"not the Service's":              {services: []*corev1.Service{holder("s", "None")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", old)}, delete: true, reason: "IPAddressWrongReference"},
		"perhaps of an update under way": {services: []*corev1.Service{holder("s", "None")}, addresses: []*networkingv1.IPAddress{addressFor("s", "10.0.0.1", young)}},
	} {
		t.Run(name, func(t *testing.T) {
			ranges := []addressRange{newAddressRange(netip.MustParsePrefix("10.0.0.0/24")), newAddressRange(netip.MustParsePrefix("fd00::/112"))}
			got := addressState{tt.services, tt.addresses, ranges}.repairs(repairTime)
			if !tt.delete && !tt.create && tt.reason == "" {
				if len(got) > 0 {
					t.Errorf("got %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].delete != tt.delete || (got[0].create != nil) != tt.create || got[0].reason != tt.reason {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestPortRepairs(t *testing.T) {
	with := func(name string, health int32, ports ...int32) corev1.Service {
		s := *holder(name, "10.0.0.1")
		s.Spec.HealthCheckNodePort = health
		for _, n := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{NodePort: n})
		}
		return s
	}
	stored := func(ages map[int32]time.Duration) map[int32]portRecord {
		out := map[int32]portRecord{}
		for n, age := range ages {
			out[n] = portRecord{created: repairTime.Add(-age)}
		}
		return out
	}
	for name, tt := range map[string]struct {
		taken      map[int32]time.Duration
		services   []corev1.Service
		free, take bool
		reason     string
	}{
		"settled":            {taken: map[int32]time.Duration{30001: time.Hour, 30002: time.Hour}, services: []corev1.Service{with("s", 30002, 30001, 30001)}},
		"missing":            {services: []corev1.Service{with("s", 0, 30001)}, take: true, reason: "PortNotAllocated"},
		"health missing":     {services: []corev1.Service{with("s", 30001)}, take: true, reason: "PortNotAllocated"},
		"outside":            {services: []corev1.Service{with("s", 0, 80)}, reason: "PortOutOfRange"},
		"twice":              {taken: map[int32]time.Duration{30001: time.Hour}, services: []corev1.Service{with("s", 0, 30001), with("t", 0, 30001)}, reason: "PortAlreadyAllocated"},
		"leaked":             {taken: map[int32]time.Duration{30001: time.Hour}, free: true},
		"perhaps on its way": {taken: map[int32]time.Duration{30001: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			got := portRepairs(stored(tt.taken), tt.services, utilnet.PortRange{Base: 30000, Size: 10}, repairTime)
			if !tt.free && !tt.take && tt.reason == "" {
				if len(got) > 0 {
					t.Errorf("got %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].free != tt.free || (got[0].take != nil) != tt.take || got[0].reason != tt.reason {
				t.Errorf("got %+v", got)
			}
		})
	}
}
