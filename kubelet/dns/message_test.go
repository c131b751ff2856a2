package dns

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestOddRequests(t *testing.T) {
	server, _ := newTestServer(t, Config{}, testObjects()...)
	request := func(change func(*dns.Msg)) *dns.Msg {
		m := new(dns.Msg)
		m.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
		change(m)
		return m
	}
	for name, c := range map[string]struct {
		req   *dns.Msg
		rcode int
	}{
		"notify":        {request(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		"no question":   {request(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		"two questions": {request(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"chaos":         {request(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		"transfer":      {request(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		"edns 1":        {request(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
	} {
		if reply := server.respond(t.Context(), c.req, false); reply.Rcode != c.rcode || reply.Id != c.req.Id {
			t.Errorf("%s: %v", name, reply)
		}
	}
	if reply := server.respond(t.Context(), request(func(m *dns.Msg) { m.Response = true }), false); reply != nil {
		t.Errorf("a response was answered: %v", reply)
	}
}

func TestCacheLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newAnswerCache(2, time.Now)
		k := cacheKey{name: "a.", qtype: dns.TypeA}
		msg := new(dns.Msg)
		msg.SetQuestion("a.", dns.TypeA)
		rr, err := dns.NewRR("a. 60 IN A 192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		msg.Answer = []dns.RR{rr}
		c.put(k, msg)
		time.Sleep(20 * time.Second)
		if got := c.get(k); got == nil || got.Answer[0].Header().Ttl != 40 {
			t.Errorf("after 20 s of 60: %v", got)
		}
		time.Sleep(40 * time.Second)
		if got := c.get(k); got != nil {
			t.Errorf("after 60 s of 60: %v", got)
		}
		for _, name := range []string{"b.", "c.", "d."} {
			c.put(cacheKey{name: name}, msg)
		}
		if len(c.entries) != 2 {
			t.Errorf("%d entries in a cache of 2", len(c.entries))
		}
	})
}

// FuzzRespond gives the server any bytes that parse as a message: the reply must pack, fit, and echo the request's ID.
func FuzzRespond(f *testing.F) {
	server, _ := newTestServer(f, Config{}, testObjects()...)
	for _, name := range []string{"web.default.svc.cluster.local.", "_pg._tcp.db.default.svc.cluster.local.", "5.0.244.10.in-addr.arpa.", ".", "10-244-0-9.default.pod.cluster.local."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeSRV)
		m.SetEdns0(1232, true)
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req := new(dns.Msg)
		if req.Unpack(data) != nil {
			return
		}
		reply := server.respond(t.Context(), req, false)
		if reply == nil {
			return
		}
		packed, err := reply.Pack()
		if err != nil {
			t.Fatalf("reply to %v doesn't pack: %v", req, err)
		}
		if len(packed) > maxUDP || reply.Id != req.Id {
			t.Fatalf("reply of %d bytes, id %d for %d", len(packed), reply.Id, req.Id)
		}
	})
}
