package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/network/nstest"
)

// run serves until the test ends or stop is called.
func run(t testing.TB, server *Server) (stop func()) {
	t.Helper()
	nstest.Need(t)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
		if err := Cleanup(server.config.LinkName); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-server.Ready():
	case <-time.After(5 * time.Second):
		t.Fatal("not ready")
	}
	return stop
}

func ask(t testing.TB, network, server, name string, qtype, edns uint16) *dns.Msg {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	if edns > 0 {
		req.SetEdns0(edns, false)
	}
	client := dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: edns}
	reply, _, err := client.Exchange(req, server)
	if err != nil {
		t.Fatalf("%s over %s: %v", name, network, err)
	}
	return reply
}

const address = "10.96.0.10:53"

func TestServerOnTheKernel(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	objs := testObjects()
	var many []discoveryv1.Endpoint
	for i := range 100 {
		many = append(many, at(fmt.Sprintf("10.244.1.%d", i), "", true))
	}
	for _, o := range objs {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok && s.Name == "patient-1" {
			s.Endpoints = many
		}
	}
	nstest.Need(t)
	server, client := newTestServer(t, Config{}, objs...)
	stop := run(t, server)

	for _, network := range []string{"udp", "tcp"} {
		if got := show(ask(t, network, address, "web.default.svc.cluster.local.", dns.TypeA, 0).Answer); got != "A 10.96.0.7" {
			t.Errorf("over %s: %q", network, got)
		}
	}
	small := ask(t, "udp", address, "patient.default.svc.cluster.local.", dns.TypeA, 0)
	small.Compress = true
	if packed, _ := small.Pack(); !small.Truncated || len(packed) > 512 {
		t.Errorf("a client without EDNS got %d bytes, truncated: %v", len(packed), small.Truncated)
	}
	if big := ask(t, "udp", address, "patient.default.svc.cluster.local.", dns.TypeA, 4096); big.Truncated || len(big.Answer) != 100 || big.IsEdns0() == nil {
		t.Errorf("a client with EDNS got %d records, truncated: %v", len(big.Answer), big.Truncated)
	}
	if whole := ask(t, "tcp", address, "patient.default.svc.cluster.local.", dns.TypeA, 0); whole.Truncated || len(whole.Answer) != 100 {
		t.Errorf("a TCP client got %d records, truncated: %v", len(whole.Answer), whole.Truncated)
	}

	// Answers follow the endpoints.
	start := time.Now()
	_, err := client.DiscoveryV1().EndpointSlices("default").Update(t.Context(),
		sliceOf("db", "pg", 15432, at("10.244.0.66", "", true)), metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for show(ask(t, "udp", address, "db.default.svc.cluster.local.", dns.TypeA, 0).Answer) != "A 10.244.0.66" {
		if time.Since(start) > 5*time.Second {
			t.Fatal("answers don't follow the endpoints")
		}
	}
	t.Logf("an endpoint's change was answered after %v", time.Since(start))
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("answers lag by %v", took)
	}

	// A removed link comes back.
	if err := Cleanup(server.config.LinkName); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := netlink.LinkByName(server.config.LinkName); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the link wasn't repaired")
		}
	}
	ask(t, "udp", address, "web.default.svc.cluster.local.", dns.TypeA, 0)

	stop()
	if _, err := netlink.LinkByName(server.config.LinkName); err == nil {
		t.Error("the link is left after cleanup")
	}
}

func TestTakenPort(t *testing.T) {
	nstest.Need(t)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	server, _ := newTestServer(t, Config{ListenAddresses: []netip.Addr{port.Addr()}, Port: port.Port()})
	if err := server.Run(t.Context()); err == nil {
		t.Error("started on a taken port")
	}
}

// upstream is a name server that counts its questions and answers by the name's first label.
type upstream struct {
	at    netip.AddrPort
	asked atomic.Int64
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{at: packets.LocalAddr().(*net.UDPAddr).AddrPort()}
	var all sync.WaitGroup
	servers := []*dns.Server{{PacketConn: packets}, {Listener: listener}}
	for _, s := range servers {
		s.Handler = dns.HandlerFunc(u.handle)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		all.Go(func() { _ = s.ActivateAndServe() })
		<-started
	}
	t.Cleanup(func() {
		for _, s := range servers {
			_ = s.Shutdown()
		}
		all.Wait()
	})
	return u
}

func (u *upstream) handle(w dns.ResponseWriter, req *dns.Msg) {
	u.asked.Add(1)
	reply := new(dns.Msg)
	reply.SetReply(req)
	name := req.Question[0].Name
	rr := func(text string) dns.RR {
		out, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		return out
	}
	_, packets := w.LocalAddr().(*net.UDPAddr)
	switch dns.SplitDomainName(name)[0] {
	case "mute":
		return
	case "broken":
		reply.Rcode = dns.RcodeServerFailure
	case "none":
		reply.Rcode = dns.RcodeNameError
		reply.Ns = []dns.RR{rr("example.com. 60 IN SOA a. b. 1 2 3 4 30")}
	case "large":
		if reply.Truncated = packets; !packets {
			reply.Answer = []dns.RR{rr(name + " 60 IN TXT large")}
		}
	default:
		reply.Answer = []dns.RR{rr(name + " 60 IN A 192.0.2.1")}
	}
	_ = w.WriteMsg(reply)
}

func respondTo(t *testing.T, server *Server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	return server.respond(t.Context(), req, true)
}

func TestForwarding(t *testing.T) {
	nstest.Need(t)
	first, second, stub := startUpstream(t), startUpstream(t), startUpstream(t)
	server, _ := newTestServer(t, Config{
		Upstreams:       []netip.AddrPort{first.at, second.at},
		StubDomains:     map[string][]netip.AddrPort{"corp.example": {stub.at}, "nobody.example": {}},
		UpstreamTimeout: 200 * time.Millisecond,
	}, testObjects()...)
	const a = "A 192.0.2.1"
	for range 3 {
		if got := show(respondTo(t, server, "www.example.com.", dns.TypeA).Answer); got != a {
			t.Fatalf("forwarded: %q", got)
		}
	}
	if n := first.asked.Load(); n != 1 {
		t.Errorf("three equal questions were asked %d times", n)
	}
	if reply := respondTo(t, server, "WWW.example.COM.", dns.TypeA); reply.Answer[0].Header().Name != "WWW.example.COM." {
		t.Errorf("the client's spelling became %s", reply.Answer[0].Header().Name)
	}
	for range 2 {
		if reply := respondTo(t, server, "none.example.com.", dns.TypeA); reply.Rcode != dns.RcodeNameError {
			t.Errorf("no such name: %d", reply.Rcode)
		}
	}
	if n := first.asked.Load(); n != 2 {
		t.Errorf("a remembered no was asked again: %d", n)
	}
	if got := show(respondTo(t, server, "large.example.com.", dns.TypeTXT).Answer); got != `TXT "large"` {
		t.Errorf("an answer that needs TCP: %q", got)
	}
	if got := show(respondTo(t, server, "host.corp.example.", dns.TypeA).Answer); got != a || stub.asked.Load() != 1 {
		t.Errorf("stub domain: %q, asked %d times", got, stub.asked.Load())
	}
	if reply := respondTo(t, server, "host.nobody.example.", dns.TypeA); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("stub domain without servers: %d", reply.Rcode)
	}
	if got := show(respondTo(t, server, "out.default.svc.cluster.local.", dns.TypeA).Answer); got != a+"; CNAME www.example.com." {
		t.Errorf("external name: %q", got)
	}
	before := second.asked.Load()
	if reply := respondTo(t, server, "broken.example.com.", dns.TypeA); reply.Rcode != dns.RcodeServerFailure || second.asked.Load() != before+1 {
		t.Errorf("a broken server: %d; the other one was asked %d times", reply.Rcode, second.asked.Load()-before)
	}
	respondTo(t, server, "mute.example.com.", dns.TypeA)
	if order := server.forwarder.order([]netip.AddrPort{first.at, stub.at}); order[0] != stub.at {
		t.Error("a mute server is asked first again")
	}
}

func TestNoUpstream(t *testing.T) {
	self := netip.MustParseAddrPort("10.96.0.10:53")
	for name, config := range map[string]Config{
		"none":   {},
		"itself": {Upstreams: []netip.AddrPort{self}},
		"itself by resolv.conf": {
			ResolvConf: writeFile(t, "search x\nnameserver 10.96.0.10\n"),
		},
		"no file": {ResolvConf: filepath.Join(t.TempDir(), "resolv.conf")},
	} {
		server, _ := newTestServer(t, config)
		start := time.Now()
		if reply := respondTo(t, server, "www.example.com.", dns.TypeA); reply.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %d", name, reply.Rcode)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolvConfFollowsTheFile(t *testing.T) {
	path := writeFile(t, "nameserver 192.0.2.1\n")
	r := &resolvConf{path: path}
	if got := fmt.Sprint(r.upstreams()); got != "[192.0.2.1:53]" {
		t.Error(got)
	}
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.2\nnameserver 2001:db8::1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.upstreams()); got != "[192.0.2.2:53 [2001:db8::1]:53]" {
		t.Error(got)
	}
}

// TestLoop has an upstream server that asks this one back.
func TestLoop(t *testing.T) {
	nstest.Need(t)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	back := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		asked.Add(1)
		if reply, err := dns.Exchange(req, address); err == nil {
			_ = w.WriteMsg(reply)
		}
	})}
	var done sync.WaitGroup
	started := make(chan struct{})
	back.NotifyStartedFunc = func() { close(started) }
	done.Go(func() { _ = back.ActivateAndServe() })
	<-started
	defer done.Wait()
	defer func() { _ = back.Shutdown() }()
	server, _ := newTestServer(t, Config{
		Upstreams: []netip.AddrPort{packets.LocalAddr().(*net.UDPAddr).AddrPort()}, UpstreamTimeout: 300 * time.Millisecond,
	})
	run(t, server)
	if reply := ask(t, "udp", address, "loop.example.com.", dns.TypeA, 0); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("a loop answered %d", reply.Rcode)
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("the question went round %d times", n)
	}
}
