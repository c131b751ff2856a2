package dns

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// reverse answers a PTR question for an address of the cluster: sections 2.3.3 and 2.4.3. It doesn't know the others.
func (r *records) reverse(q dns.Question) (answer, bool) {
	addr, ok := reversed(q.Name)
	if !ok {
		return answer{}, false
	}
	var names []string
	if svc := r.cluster.serviceAt(addr); svc != nil {
		names = append(names, svc.Name+"."+svc.Namespace+".svc."+r.domain)
	} else {
		names = r.endpointNames(addr)
	}
	if len(names) == 0 {
		return answer{}, false
	}
	out := answer{exists: true}
	for _, name := range names {
		if q.Qtype == dns.TypePTR {
			out.rrs = append(out.rrs, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: strings.ToLower(name)})
		}
	}
	return out, true
}

func (r *records) endpointNames(addr netip.Addr) []string {
	var out []string
	for _, slice := range r.cluster.slices(sliceByAddress, addr.String()) {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if at, ok := endpointAddr(e); ok && at == addr {
				service := slice.Labels[discoveryv1.LabelServiceName]
				out = append(out, hostOf(e, at)+"."+service+"."+slice.Namespace+".svc."+r.domain)
			}
		}
	}
	return out
}

// reversed parses a name below in-addr.arpa or ip6.arpa.
func reversed(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		return reversed4(strings.Split(rest, "."))
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return reversed6(strings.Split(rest, "."))
	}
	return netip.Addr{}, false
}

func reversed4(labels []string) (netip.Addr, bool) {
	if len(labels) != 4 {
		return netip.Addr{}, false
	}
	var raw [4]byte
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		raw[3-i] = byte(n)
	}
	return netip.AddrFrom4(raw), true
}

func reversed6(labels []string) (netip.Addr, bool) {
	if len(labels) != 32 {
		return netip.Addr{}, false
	}
	var raw [16]byte
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 16, 4)
		if err != nil || len(l) != 1 {
			return netip.Addr{}, false
		}
		at := 31 - i
		raw[at/2] |= byte(n) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(raw), true
}
