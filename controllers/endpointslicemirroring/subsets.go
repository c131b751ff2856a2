package endpointslicemirroring

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// place is an address, told apart from the same one of another object.
type place struct {
	ip  string
	uid types.UID
}

// port is an EndpointPort that can be compared.
type port struct {
	name     string
	number   int32
	protocol corev1.Protocol
	app      string
	hasApp   bool
}

// canonical answers the same addresses and ports in subsets that are in order, have no address twice and have one subset
// for each set of addresses with one set of ports. An address that is ready and not ready for a port is not.
func canonical(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	addresses := map[place]*corev1.EndpointAddress{}
	ready := map[port]map[place]bool{}
	for i := range subsets {
		for _, p := range portsOf(&subsets[i]) {
			if ready[p] == nil {
				ready[p] = map[place]bool{}
			}
			note(addresses, ready[p], subsets[i].Addresses, true)
			note(addresses, ready[p], subsets[i].NotReadyAddresses, false)
		}
	}
	shared := map[string][]port{} // those that the same addresses have
	for p, of := range ready {
		key := signature(of)
		shared[key] = append(shared[key], p)
	}
	var out []corev1.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(shared)) {
		ports := slices.SortedFunc(slices.Values(shared[key]), comparePorts)
		out = append(out, subset(addresses, ready[ports[0]], ports))
	}
	return out
}

// portsOf answers the subset's ports, or one that is none.
func portsOf(s *corev1.EndpointSubset) []port {
	if len(s.Ports) == 0 {
		return []port{{number: -1}}
	}
	var ports []port
	for _, p := range s.Ports {
		ports = append(ports, port{p.Name, p.Port, p.Protocol, ptr.Deref(p.AppProtocol, ""), p.AppProtocol != nil})
	}
	return ports
}

func note(all map[place]*corev1.EndpointAddress, of map[place]bool, addresses []corev1.EndpointAddress, ready bool) {
	for i := range addresses {
		at := place{ip: addresses[i].IP}
		if ref := addresses[i].TargetRef; ref != nil {
			at.uid = ref.UID
		}
		if all[at] == nil {
			all[at] = &addresses[i]
		}
		if was, known := of[at]; !known || was {
			of[at] = ready
		}
	}
}

func signature(of map[place]bool) string {
	var b strings.Builder
	for _, at := range slices.SortedFunc(maps.Keys(of), comparePlaces) {
		b.WriteString(at.ip + "/" + string(at.uid))
		if of[at] {
			b.WriteString("/ready")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func subset(addresses map[place]*corev1.EndpointAddress, of map[place]bool, ports []port) corev1.EndpointSubset {
	var s corev1.EndpointSubset
	for _, at := range slices.SortedFunc(maps.Keys(of), comparePlaces) {
		if of[at] {
			s.Addresses = append(s.Addresses, *addresses[at])
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, *addresses[at])
		}
	}
	for _, p := range ports {
		if p.number < 0 {
			continue
		}
		e := corev1.EndpointPort{Name: p.name, Port: p.number, Protocol: p.protocol}
		if p.hasApp {
			e.AppProtocol = &p.app
		}
		s.Ports = append(s.Ports, e)
	}
	return s
}

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.ip, b.ip), strings.Compare(string(a.uid), string(b.uid)))
}

func comparePorts(a, b port) int {
	return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(string(a.protocol), string(b.protocol)), strings.Compare(a.name, b.name), strings.Compare(a.app, b.app))
}
