package dns

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// port answers _PORT._PROTOCOL.SERVICE.NAMESPACE.svc: sections 2.3.2 and 2.4.2.
func (r *records) port(q question, svc *corev1.Service, port, protocol string) answer {
	all := r.serviceRecords(q, svc, func(p corev1.ServicePort) bool {
		return p.Name != "" && "_"+strings.ToLower(p.Name) == port && protocolLabel(p.Protocol) == protocol
	})
	if q.qtype != dns.TypeSRV {
		return answer{exists: len(all.rrs) > 0}
	}
	return answer{exists: len(all.rrs) > 0, rrs: all.rrs, extra: all.extra}
}

func protocolLabel(p corev1.Protocol) string {
	return "_" + strings.ToLower(string(cmp.Or(p, corev1.ProtocolTCP)))
}

// serviceRecords lists the SRV records of the ports picked, with the addresses of their targets.
func (r *records) serviceRecords(q question, svc *corev1.Service, picked func(corev1.ServicePort) bool) answer {
	out := answer{exists: true}
	base := strings.ToLower(svc.Name + "." + svc.Namespace + ".svc." + r.domain)
	var endpoints []endpoint
	if headless(svc) {
		endpoints = r.cluster.endpoints(svc)
	}
	for _, p := range svc.Spec.Ports {
		switch {
		case !picked(p):
		case headless(svc):
			out.add(endpointRecords(q, p, endpoints, base))
		default:
			out.rrs = append(out.rrs, srv(q.name, uint16(p.Port), 100, base))
		}
	}
	if !headless(svc) && len(out.rrs) > 0 {
		out.extra = addressRecords(base, addresses(svc), dns.TypeANY)
	}
	return out
}

func (a *answer) add(more answer) {
	a.rrs = append(a.rrs, more.rrs...)
	a.extra = append(a.extra, more.extra...)
}

// endpointRecords has one SRV record for each endpoint that serves the port, all of the same weight.
func endpointRecords(q question, p corev1.ServicePort, all []endpoint, base string) answer {
	var out answer
	for _, e := range all {
		number, ok := e.port(p)
		if !ok {
			continue
		}
		target := e.host + "." + base
		out.rrs = append(out.rrs, srv(q.name, number, 0, target))
		out.extra = append(out.extra, addressRecords(target, []netip.Addr{e.addr}, dns.TypeANY)...)
	}
	for _, rr := range out.rrs {
		if record, ok := rr.(*dns.SRV); ok {
			record.Weight = uint16(max(1, 100/len(out.rrs)))
		}
	}
	return out
}

// port finds the endpoint's number of a Service port: they meet by name and protocol.
func (e endpoint) port(p corev1.ServicePort) (uint16, bool) {
	for _, have := range e.ports {
		if portName(have) == p.Name && portProtocol(have) == cmp.Or(p.Protocol, corev1.ProtocolTCP) && have.Port != nil {
			return uint16(*have.Port), true
		}
	}
	return 0, false
}

func portName(p discoveryv1.EndpointPort) string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

func portProtocol(p discoveryv1.EndpointPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

func srv(name string, port, weight uint16, target string) dns.RR {
	return &dns.SRV{Hdr: header(name, dns.TypeSRV), Weight: weight, Port: port, Target: target}
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: recordTTL}
}

// addressRecords lists the A and AAAA records that a question of the type asks for; ANY asks for both.
func addressRecords(name string, addrs []netip.Addr, qtype uint16) []dns.RR {
	var out []dns.RR
	for _, a := range addrs {
		switch {
		case a.Is4() && (qtype == dns.TypeA || qtype == dns.TypeANY):
			out = append(out, &dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (qtype == dns.TypeAAAA || qtype == dns.TypeANY):
			out = append(out, &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return out
}

// soa is the zone's start of authority, which says how long "no" holds.
func (r *records) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(r.domain, dns.TypeSOA), Ns: "ns.dns." + r.domain, Mbox: "hostmaster." + r.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: recordTTL,
	}
}
