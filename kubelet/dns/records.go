package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// answer is what the cluster knows about a question.
type answer struct {
	exists bool // the name exists, be it without records of the type asked for
	rrs    []dns.RR
	extra  []dns.RR
	follow string // a name whose records belong to the answer too: what a CNAME points to
}

// records answers questions about names below the cluster's domain. The rules are those of the specification, section
// by section; the names' owner in the answer is the name as it was asked.
type records struct {
	cluster *cluster
	domain  string // canonical, with the final dot
	servers []netip.Addr
}

// question is one question, with the labels between the name's start and the cluster's domain, in lower case.
type question struct {
	name   string // as asked
	qtype  uint16
	labels []string
}

// parse reports whether the name is the cluster's.
func (r *records) parse(q dns.Question) (question, bool) {
	name := strings.ToLower(q.Name)
	if name == r.domain {
		return question{name: q.Name, qtype: q.Qtype}, true
	}
	rest, ok := strings.CutSuffix(name, "."+r.domain)
	if !ok {
		return question{}, false
	}
	return question{name: q.Name, qtype: q.Qtype, labels: strings.Split(rest, ".")}, true
}

// lookup answers a question about a name of the cluster.
func (r *records) lookup(q question) answer {
	n := len(q.labels)
	if n == 0 {
		return r.apex(q)
	}
	switch q.labels[n-1] {
	case "svc":
		return r.services(q, q.labels[:n-1])
	case "pod":
		return r.pods(q, q.labels[:n-1])
	case "dns-version":
		return r.version(q)
	case "dns":
		return r.nameServer(q)
	default:
		return answer{}
	}
}

func (r *records) apex(q question) answer {
	out := answer{exists: true}
	switch q.qtype {
	case dns.TypeSOA:
		out.rrs = []dns.RR{r.soa()}
	case dns.TypeNS:
		out.rrs = []dns.RR{&dns.NS{Hdr: header(q.name, dns.TypeNS), Ns: "ns.dns." + r.domain}}
		out.extra = addressRecords("ns.dns."+r.domain, r.servers, dns.TypeANY)
	}
	return out
}

// version is the specification's own record: section 2.2.
func (r *records) version(q question) answer {
	out := answer{exists: len(q.labels) == 1}
	if out.exists && q.qtype == dns.TypeTXT {
		out.rrs = []dns.RR{&dns.TXT{Hdr: header(q.name, dns.TypeTXT), Txt: []string{"1.1.0"}}}
	}
	return out
}

func (r *records) nameServer(q question) answer {
	out := answer{exists: len(q.labels) == 1 || (len(q.labels) == 2 && q.labels[0] == "ns")}
	if len(q.labels) == 2 && out.exists {
		out.rrs = addressRecords(q.name, r.servers, q.qtype)
	}
	return out
}

// pods answers ADDRESS-WITH-DASHES.NAMESPACE.pod: section 2.6. The address needs no pod: the name says it all.
func (r *records) pods(q question, labels []string) answer {
	n := len(labels)
	if n == 0 {
		return answer{exists: true}
	}
	if !r.cluster.hasNamespace(labels[n-1]) || n > 2 {
		return answer{}
	}
	if n == 1 {
		return answer{exists: true}
	}
	addr, ok := undashed(labels[0])
	if !ok {
		return answer{}
	}
	return answer{exists: true, rrs: addressRecords(q.name, []netip.Addr{addr}, q.qtype)}
}

// services answers everything below svc.
func (r *records) services(q question, labels []string) answer {
	n := len(labels)
	if n == 0 {
		return answer{exists: true}
	}
	if n == 1 {
		return answer{exists: r.cluster.hasNamespace(labels[0])}
	}
	svc := r.cluster.service(labels[n-1], labels[n-2])
	switch {
	case svc == nil || n > 4:
		return answer{}
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return r.externalName(q, svc, n == 2)
	case n == 2:
		return r.service(q, svc)
	case n == 4:
		return r.port(q, svc, labels[0], labels[1])
	case strings.HasPrefix(labels[0], "_"):
		// A protocol's name alone has no records, but names below it.
		named := func(p corev1.ServicePort) bool { return protocolLabel(p.Protocol) == labels[0] && p.Name != "" }
		return answer{exists: slices.ContainsFunc(svc.Spec.Ports, named)}
	default:
		return r.endpoint(q, svc, labels[0])
	}
}

// externalName is a CNAME: section 2.5.
func (r *records) externalName(q question, svc *corev1.Service, itself bool) answer {
	if !itself || svc.Spec.ExternalName == "" {
		return answer{}
	}
	target := dns.Fqdn(svc.Spec.ExternalName)
	if _, ok := dns.IsDomainName(target); !ok {
		return answer{exists: true}
	}
	out := answer{exists: true, rrs: []dns.RR{&dns.CNAME{Hdr: header(q.name, dns.TypeCNAME), Target: target}}}
	if q.qtype != dns.TypeCNAME {
		out.follow = target
	}
	return out
}

// service answers SERVICE.NAMESPACE.svc: sections 2.3.1 (with a cluster IP) and 2.4.1 (headless).
func (r *records) service(q question, svc *corev1.Service) answer {
	if q.qtype == dns.TypeSRV {
		return r.serviceRecords(q, svc, func(corev1.ServicePort) bool { return true })
	}
	return answer{exists: true, rrs: addressRecords(q.name, r.serviceAddresses(svc), q.qtype)}
}

func (r *records) serviceAddresses(svc *corev1.Service) []netip.Addr {
	if !headless(svc) {
		return addresses(svc)
	}
	var out []netip.Addr
	for _, e := range r.cluster.endpoints(svc) {
		if len(out) == 0 || out[len(out)-1] != e.addr {
			out = append(out, e.addr)
		}
	}
	return out
}

// endpoint answers ENDPOINT.SERVICE.NAMESPACE.svc.
func (r *records) endpoint(q question, svc *corev1.Service, host string) answer {
	var addrs []netip.Addr
	for _, e := range r.cluster.endpoints(svc) {
		if e.host == host {
			addrs = append(addrs, e.addr)
		}
	}
	return answer{exists: len(addrs) > 0, rrs: addressRecords(q.name, addrs, q.qtype)}
}

func headless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == corev1.ClusterIPNone || len(svc.Spec.ClusterIPs) == 0
}
