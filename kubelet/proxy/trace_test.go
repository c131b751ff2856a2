package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff/kubelet/nft"
	"skiff/kubelet/nft/nfttest"
)

// tracer sends packets through the rules.
type tracer struct{ *nfttest.Tracer }

// outcome is where a packet ends up: "drop", "reject", or "ADDRESS:PORT", with " masquerade" if its source is replaced.
type outcome string

func newTracer(config Config, elements []Element) *tracer {
	t := &tracer{nfttest.New(nft.IPv4)}
	t.Prefixes, t.Ranged = config.fixed().prefixes, ranged
	t.Local = append([]netip.Addr{netip.MustParseAddr("10.244.0.1")}, append(config.NodeIPs, config.DNSAddresses...)...)
	t.AddChains(baseChains()...)
	nfttest.AddElements(t.Tracer, config.fixed().elements)
	nfttest.AddElements(t.Tracer, elements)
	for _, e := range elements {
		if c, ok := e.Value.Verdict.chain(); ok {
			t.AddChains(c)
		}
	}
	return t
}

func (t *tracer) send(p nfttest.Packet) outcome {
	w := t.Send(p)
	hook := "prerouting"
	if slices.Contains(t.Local, p.Src) {
		hook = "output"
	}
	switch w.Chain(hook) {
	case nft.Drop:
		return "drop"
	case nft.Reject:
		return "reject"
	}
	out := netip.AddrPortFrom(w.Dst, w.Port).String()
	if slices.Contains(t.Local, w.Dst) && hook == "prerouting" {
		return outcome(out) // taken in, not sent on
	}
	if w.Chain("postrouting") == nft.Masquerade {
		out += " masquerade"
	}
	return outcome(out)
}

// outcomes lists every outcome that chance allows.
func (t *tracer) outcomes(p nfttest.Packet) string {
	seen := map[outcome]bool{}
	for i := range 12 {
		t.Random = func(n int) int { return i % n }
		clear(t.Learned)
		seen[t.send(p)] = true
	}
	var out []string
	for o := range seen {
		out = append(out, string(o))
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

func testConfig() Config {
	return Config{
		Table: "t", NodeName: testNode, NodeIPs: []netip.Addr{nodeIP},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		DNSAddresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	}
}

func testPlanner() Planner {
	return Planner{Families: []nft.Family{nft.IPv4}, Node: testNode, Zone: "z1"}
}

// from names the packets' origins in the tables.
var from = map[string]netip.Addr{
	"pod": netip.MustParseAddr("10.244.0.11"), "far pod": netip.MustParseAddr("10.244.7.7"),
	"node": nodeIP, "bridge": netip.MustParseAddr("10.244.0.1"), "outside": outsideIP,
}

func TestTrace(t *testing.T) {
	lb := func(change func(*corev1.Service)) *corev1.Service {
		s := service("web", "10.96.0.100", nodePort(tcp(80), 30080), nodePort(udp(53), 30053))
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.ExternalIPs = []string{"203.0.113.1"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.2"}, {IP: "203.0.113.3", IPMode: ptr(corev1.LoadBalancerIPModeProxy)}}
		if change != nil {
			change(s)
		}
		return s
	}
	externalLocal := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	internalLocal := func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal) }
	sticky := func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }
	ranges := func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.128/25"} }
	two := slice("web", 8080, "10.244.0.11", "10.244.5.5 elsewhere")
	far := slice("web", 8080, "10.244.5.5 elsewhere")
	hinted := slice("web", 8080, "10.244.0.11", "10.244.5.5 elsewhere")
	hinted.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z1"}}}
	hinted.Endpoints[1].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z2"}}}
	const both = "10.244.0.11:8080, 10.244.5.5:8080"
	const bothMasq = "10.244.0.11:8080 masquerade, 10.244.5.5:8080 masquerade"
	for _, c := range []struct {
		what   string
		svc    *corev1.Service
		slices *discoveryv1.EndpointSlice
		from   string
		to     string
		want   string
	}{
		{"cluster IP", lb(nil), two, "far pod", "tcp 10.96.0.100:80", both},
		{"hairpin", lb(nil), two, "pod", "tcp 10.96.0.100:80", "10.244.0.11:8080 masquerade, 10.244.5.5:8080"},
		{"cluster IP from the node", lb(nil), two, "bridge", "tcp 10.96.0.100:80", both},
		{"cluster IP from the node's address", lb(nil), two, "node", "tcp 10.96.0.100:80", bothMasq},
		{"cluster IP from outside", lb(nil), two, "outside", "tcp 10.96.0.100:80", bothMasq},
		{"unknown port", lb(nil), two, "pod", "tcp 10.96.0.100:81", "reject"},
		{"other protocol", lb(nil), two, "pod", "udp 10.96.0.100:80", "reject"},
		{"unknown Service", lb(nil), two, "pod", "tcp 10.96.0.101:80", "drop"},
		{"DNS is left alone", lb(nil), two, "pod", "udp 10.96.0.10:53", "10.96.0.10:53"},
		{"no endpoints", lb(nil), nil, "pod", "tcp 10.96.0.100:80", "reject"},
		{"no endpoints, node port", lb(nil), nil, "outside", "tcp 198.51.100.1:30080", "reject"},
		{"unready endpoints", lb(nil), slice("web", 8080, "10.244.0.11 unready"), "far pod", "tcp 10.96.0.100:80", "reject"},
		{"terminating ones only", lb(nil), slice("web", 8080, "10.244.0.11 terminating", "10.244.0.12 unready"), "far pod", "tcp 10.96.0.100:80", "10.244.0.11:8080"},
		{"ready before terminating", lb(nil), slice("web", 8080, "10.244.0.11 terminating", "10.244.0.12"), "far pod", "tcp 10.96.0.100:80", "10.244.0.12:8080"},

		{"node port", lb(nil), two, "outside", "tcp 198.51.100.1:30080", bothMasq},
		{"node port, UDP", lb(nil), two, "outside", "udp 198.51.100.1:30053", bothMasq},
		{"node port at loopback", lb(nil), two, "node", "tcp 127.0.0.1:30080", "127.0.0.1:30080"},
		{"external IP", lb(nil), two, "outside", "tcp 203.0.113.1:80", bothMasq},
		{"load balancer", lb(nil), two, "outside", "tcp 203.0.113.2:80", bothMasq},
		{"load balancer's own proxy", lb(nil), two, "pod", "tcp 203.0.113.3:80", "203.0.113.3:80 masquerade"},

		{"external local", lb(externalLocal), two, "outside", "tcp 198.51.100.1:30080", "10.244.0.11:8080"},
		{"external local, load balancer", lb(externalLocal), two, "outside", "tcp 203.0.113.2:80", "10.244.0.11:8080"},
		{"external local from a pod", lb(externalLocal), two, "far pod", "tcp 203.0.113.2:80", both},
		{"external local, none here", lb(externalLocal), far, "outside", "tcp 198.51.100.1:30080", "drop"},
		{"external local, none at all", lb(externalLocal), nil, "outside", "tcp 198.51.100.1:30080", "reject"},
		{"external local, terminating", lb(externalLocal), slice("web", 8080, "10.244.0.11 terminating", "10.244.5.5 elsewhere"), "outside", "tcp 198.51.100.1:30080", "10.244.0.11:8080"},
		{"internal local", lb(internalLocal), two, "far pod", "tcp 10.96.0.100:80", "10.244.0.11:8080"},
		{"internal local, none here", lb(internalLocal), far, "far pod", "tcp 10.96.0.100:80", "drop"},
		{"internal local, from outside", lb(internalLocal), two, "outside", "tcp 203.0.113.2:80", bothMasq},

		{"sticky", lb(sticky), two, "far pod", "tcp 10.96.0.100:80", both},
		{"sticky node port", lb(sticky), two, "outside", "tcp 198.51.100.1:30080", bothMasq},
		{"zone hints", lb(nil), hinted, "far pod", "tcp 10.96.0.100:80", "10.244.0.11:8080"},
		{"source ranges", lb(ranges), two, "outside", "tcp 203.0.113.2:80", "drop"},
		{"source ranges, node port", lb(ranges), two, "outside", "tcp 198.51.100.1:30080", bothMasq},
		{"source ranges, pod", lb(ranges), two, "far pod", "tcp 203.0.113.2:80", bothMasq},

		{"outward", lb(nil), two, "pod", "tcp 198.51.100.9:443", "198.51.100.9:443 masquerade"},
		{"pod to pod", lb(nil), two, "pod", "tcp 10.244.5.5:8080", "10.244.5.5:8080"},
		{"node outward", lb(nil), two, "node", "tcp 198.51.100.9:443", "198.51.100.9:443"},
	} {
		var all []*discoveryv1.EndpointSlice
		if c.slices != nil {
			all = append(all, c.slices)
		}
		trace := newTracer(testConfig(), testPlanner().Service(c.svc, all, nil))
		if got := trace.outcomes(parsePacket(t, c.from, c.to)); got != c.want {
			t.Errorf("%s: %s -> %s: %s, want %s", c.what, c.from, c.to, got, c.want)
		}
	}
}

func parsePacket(t *testing.T, origin, to string) nfttest.Packet {
	t.Helper()
	proto, at, _ := strings.Cut(to, " ")
	dst, err := netip.ParseAddrPort(at)
	if err != nil || !from[origin].IsValid() {
		t.Fatalf("packet from %s to %s: %v", origin, to, err)
	}
	return nfttest.Packet{Src: from[origin], Dst: dst.Addr(), Port: dst.Port(), Proto: nft.ProtocolNumber(corev1.Protocol(strings.ToUpper(proto)))}
}

func TestTraceIgnored(t *testing.T) {
	headless := service("web", "None", tcp(80))
	foreign := service("web", "10.96.0.100", tcp(80))
	foreign.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	external := service("web", "", tcp(80))
	external.Spec.Type = corev1.ServiceTypeExternalName
	for _, svc := range []*corev1.Service{headless, foreign, external, nil} {
		if got := testPlanner().Service(svc, []*discoveryv1.EndpointSlice{slice("web", 8080, "10.244.0.11")}, nil); len(got) > 0 {
			t.Errorf("%v: planned %d elements", svc, len(got))
		}
	}
}

// TestStickyKeepsClients: whoever has an endpoint keeps it for as long as it lives, whatever comes and goes beside it.
func TestStickyKeepsClients(t *testing.T) {
	svc := service("web", "10.96.0.100", tcp(80))
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s := nft.NewState[Value]()
	trace := newTracer(testConfig(), nil)
	plan := func(endpoints ...string) {
		s.Put("web", testPlanner().Service(svc, []*discoveryv1.EndpointSlice{slice("web", 8080, endpoints...)}, s.Value))
		next := newTracer(testConfig(), s.Content())
		next.Learned = trace.Learned
		trace = next
	}
	ask := func(client, chance int) outcome {
		trace.Random = func(n int) int { return chance % n }
		return trace.send(nfttest.Packet{
			Src: netip.AddrFrom4([4]byte{10, 244, 9, byte(client)}), Dst: netip.MustParseAddr("10.96.0.100"), Proto: unix.IPPROTO_TCP, Port: 80,
		})
	}
	a, b, c, d := "10.244.0.11", "10.244.0.12", "10.244.0.13", "10.244.0.10"
	plan(a, b, c)
	home := map[int]outcome{}
	for client := range 3 {
		home[client] = ask(client, client)
	}
	for step, endpoints := range [][]string{{a, b, c, d}, {d, c, b}, {c, d}, {d, c, a}, {c}} {
		plan(endpoints...)
		for client := range 3 {
			got := ask(client, step+client)
			alive := slices.ContainsFunc(endpoints, func(e string) bool { return home[client] == outcome(e+":8080") })
			if alive && got != home[client] {
				t.Errorf("step %d: client %d moved from %s to %s", step, client, home[client], got)
			}
			if !slices.ContainsFunc(endpoints, func(e string) bool { return got == outcome(e+":8080") }) {
				t.Errorf("step %d: client %d went to %s", step, client, got)
			}
			home[client] = got
		}
	}
}

func TestRuleCountDoesNotGrow(t *testing.T) {
	chains := func(services int) int {
		var all []Element
		for i := range services {
			svc := service(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.%d.%d", i/200+1, i%200+1), tcp(80))
			all = append(all, testPlanner().Service(svc, []*discoveryv1.EndpointSlice{slice(svc.Name, 80, "10.244.0.1", "10.244.0.2")}, nil)...)
		}
		return len(newTracer(testConfig(), all).Chains)
	}
	if one, many := chains(1), chains(500); one != many {
		t.Errorf("%d chains for one Service, %d for 500", one, many)
	}
}
