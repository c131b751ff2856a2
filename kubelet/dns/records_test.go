package dns

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// show is the records' data in sorted order, owners and TTLs left out.
func show(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			fields := strings.Fields(strings.TrimPrefix(rr.String(), rr.Header().Name))
			out = append(out, strings.Join(fields[2:], " "))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestRecords(t *testing.T) {
	server, _ := newTestServer(t, Config{}, testObjects()...)
	const (
		nx  = "NXDOMAIN"
		ok  = "NOERROR"
		soa = "SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"
	)
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode string
		want  string // records of the answer, "" for none
	}{
		{"web.default.svc.cluster.local.", dns.TypeA, ok, "A 10.96.0.7"},
		{"WEB.default.svc.Cluster.Local.", dns.TypeA, ok, "A 10.96.0.7"},
		{"web.default.svc.cluster.local.", dns.TypeAAAA, ok, "AAAA fd00:96::7"},
		{"web.default.svc.cluster.local.", dns.TypeMX, ok, ""},
		{"web.default.svc.cluster.local.", dns.TypeSRV, ok, "SRV 0 100 53 web.default.svc.cluster.local.; SRV 0 100 80 web.default.svc.cluster.local."},
		{"_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, ok, "SRV 0 100 80 web.default.svc.cluster.local."},
		{"_dns._udp.web.default.svc.cluster.local.", dns.TypeSRV, ok, "SRV 0 100 53 web.default.svc.cluster.local."},
		{"_http._tcp.web.default.svc.cluster.local.", dns.TypeA, ok, ""},
		{"_tcp.web.default.svc.cluster.local.", dns.TypeA, ok, ""},
		{"_http._udp.web.default.svc.cluster.local.", dns.TypeSRV, nx, ""},
		{"_nope._tcp.web.default.svc.cluster.local.", dns.TypeSRV, nx, ""},
		{"nope.default.svc.cluster.local.", dns.TypeA, nx, ""},
		{"web.nope.svc.cluster.local.", dns.TypeA, nx, ""},
		{"x.web.default.svc.cluster.local.", dns.TypeA, nx, ""},
		{"a.b.c.web.default.svc.cluster.local.", dns.TypeA, nx, ""},
		{"default.svc.cluster.local.", dns.TypeA, ok, ""},
		{"nope.svc.cluster.local.", dns.TypeA, nx, ""},
		{"svc.cluster.local.", dns.TypeA, ok, ""},
		{"nope.cluster.local.", dns.TypeA, nx, ""},

		{"db.default.svc.cluster.local.", dns.TypeA, ok, "A 10.244.0.5; A 10.244.0.6"},
		{"db.default.svc.cluster.local.", dns.TypeAAAA, ok, ""},
		{"db-0.db.default.svc.cluster.local.", dns.TypeA, ok, "A 10.244.0.5"},
		{"10-244-0-6.db.default.svc.cluster.local.", dns.TypeA, ok, "A 10.244.0.6"},
		{"10-244-0-5.db.default.svc.cluster.local.", dns.TypeA, nx, ""}, // it has a hostname
		{"db-2.db.default.svc.cluster.local.", dns.TypeA, nx, ""},       // not ready
		{"_pg._tcp.db.default.svc.cluster.local.", dns.TypeSRV, ok, "SRV 0 50 15432 10-244-0-6.db.default.svc.cluster.local.; SRV 0 50 15432 db-0.db.default.svc.cluster.local."},
		{"patient.default.svc.cluster.local.", dns.TypeA, ok, "A 10.244.0.8"},
		{"p-0.patient.default.svc.cluster.local.", dns.TypeA, ok, "A 10.244.0.8"},
		{"empty.default.svc.cluster.local.", dns.TypeA, ok, ""},

		{"alias.default.svc.cluster.local.", dns.TypeA, ok, "A 10.96.0.7; CNAME web.default.svc.cluster.local."},
		{"out.default.svc.cluster.local.", dns.TypeCNAME, ok, "CNAME www.example.com."},
		{"x.out.default.svc.cluster.local.", dns.TypeA, nx, ""},

		{"10-244-0-9.default.pod.cluster.local.", dns.TypeA, ok, "A 10.244.0.9"},
		{"10-244-0-9.default.pod.cluster.local.", dns.TypeAAAA, ok, ""},
		{"fd00--9.default.pod.cluster.local.", dns.TypeAAAA, ok, "AAAA fd00::9"},
		{"10-244-0-999.default.pod.cluster.local.", dns.TypeA, nx, ""},
		{"10-244-0-9.nope.pod.cluster.local.", dns.TypeA, nx, ""},
		{"x.10-244-0-9.default.pod.cluster.local.", dns.TypeA, nx, ""},

		{"7.0.96.10.in-addr.arpa.", dns.TypePTR, ok, "PTR web.default.svc.cluster.local."},
		{"5.0.244.10.in-addr.arpa.", dns.TypePTR, ok, "PTR db-0.db.default.svc.cluster.local."},
		{"6.0.244.10.in-addr.arpa.", dns.TypePTR, ok, "PTR 10-244-0-6.db.default.svc.cluster.local."},
		{"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, ok, "PTR web.default.svc.cluster.local."},

		{"cluster.local.", dns.TypeSOA, ok, soa},
		{"cluster.local.", dns.TypeNS, ok, "NS ns.dns.cluster.local."},
		{"cluster.local.", dns.TypeA, ok, ""},
		{"ns.dns.cluster.local.", dns.TypeA, ok, "A 10.96.0.10"},
		{"dns-version.cluster.local.", dns.TypeTXT, ok, `TXT "1.1.0"`},
		{"dns-version.cluster.local.", dns.TypeA, ok, ""},
		{"notcluster.local.", dns.TypeA, "SERVFAIL", ""}, // nobody to ask
	} {
		req := new(dns.Msg)
		req.SetQuestion(c.name, c.qtype)
		reply := server.respond(t.Context(), req, true)
		if got := dns.RcodeToString[reply.Rcode]; got != c.rcode || show(reply.Answer) != c.want {
			t.Errorf("%s %s: %s %q, want %s %q", c.name, dns.TypeToString[c.qtype], got, show(reply.Answer), c.rcode, c.want)
		}
		if none := len(reply.Answer) == 0 && c.rcode != "SERVFAIL"; none && show(reply.Ns) != soa {
			t.Errorf("%s %s: %q instead of the SOA record", c.name, dns.TypeToString[c.qtype], show(reply.Ns))
		}
		for _, rr := range reply.Answer {
			if rr.Header().Ttl != recordTTL {
				t.Errorf("%s: TTL %d", c.name, rr.Header().Ttl)
			}
		}
		if len(reply.Answer) > 0 && c.rcode == ok && reply.Answer[0].Header().Name != c.name {
			if _, alias := reply.Answer[0].(*dns.A); !alias {
				t.Errorf("%s: answered as %s", c.name, reply.Answer[0].Header().Name)
			}
		}
	}
}

func TestAdditionalRecords(t *testing.T) {
	server, _ := newTestServer(t, Config{}, testObjects()...)
	for name, want := range map[string]string{
		"_http._tcp.web.default.svc.cluster.local.": "A 10.96.0.7; AAAA fd00:96::7",
		"_pg._tcp.db.default.svc.cluster.local.":    "A 10.244.0.5; A 10.244.0.6",
	} {
		req := new(dns.Msg)
		req.SetQuestion(name, dns.TypeSRV)
		if got := show(server.respond(t.Context(), req, true).Extra); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
