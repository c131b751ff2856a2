package dns

import (
	"testing"

	"github.com/miekg/dns"

	"skiff/kubelet/network/nstest"
)

// BenchmarkRespond is a question's way through the server without the sockets.
func BenchmarkRespond(b *testing.B) {
	server, _ := newTestServer(b, Config{}, testObjects()...)
	for name, asked := range map[string]string{
		"service": "web.default.svc.cluster.local.", "headless": "db.default.svc.cluster.local.", "no such name": "x.default.svc.cluster.local.",
	} {
		b.Run(name, func(b *testing.B) {
			req := new(dns.Msg)
			req.SetQuestion(asked, dns.TypeA)
			for b.Loop() {
				if _, err := server.respond(b.Context(), req, false).Pack(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUDP has many clients ask over the kernel, each waiting for its answer.
func BenchmarkUDP(b *testing.B) {
	nstest.Need(b)
	server, _ := newTestServer(b, Config{}, testObjects()...)
	run(b, server)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := dns.Dial("udp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		req := new(dns.Msg)
		req.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
		for pb.Next() {
			if err := conn.WriteMsg(req); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.ReadMsg(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
