package proxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// tracer walks a packet through the rules, as the kernel would.
type tracer struct {
	family   Family
	chains   map[string]Chain
	elements map[ElementID]Value
	prefixes map[MapName][]netip.Prefix
	learned  map[MapName]map[string]bool
	local    []netip.Addr // addresses of the host
	random   func(n int) int
}

type packet struct {
	src, dst netip.Addr
	proto    uint8
	port     uint16
}

// outcome is where a packet ends up: "drop", "reject", or "ADDRESS:PORT", with " masquerade" if its source is replaced.
type outcome string

func newTracer(config Config, elements []Element) *tracer {
	t := &tracer{
		family: IPv4, chains: map[string]Chain{}, elements: map[ElementID]Value{}, learned: map[MapName]map[string]bool{},
		prefixes: config.fixed().prefixes, local: append([]netip.Addr{netip.MustParseAddr("10.244.0.1")}, append(config.NodeIPs, config.DNSAddresses...)...),
		random: func(int) int { return 0 },
	}
	for _, c := range baseChains() {
		t.chains[c.Name] = c
	}
	for _, e := range append(config.fixed().elements, elements...) {
		t.elements[e.ID] = e.Value
		if c, ok := e.Value.Verdict.chain(); ok {
			t.chains[c.Name] = c
		}
	}
	return t
}

// walk is a packet's way.
type walk struct {
	*tracer
	packet
	orig   packet
	target string
}

func (t *tracer) send(p packet) outcome {
	w := &walk{tracer: t, packet: p, orig: p}
	hook := "prerouting"
	if slices.Contains(t.local, p.src) {
		hook = "output"
	}
	end := w.chain(hook)
	if end == Drop {
		return "drop"
	}
	if end == Reject {
		return "reject"
	}
	out := netip.AddrPortFrom(w.dst, w.port).String()
	if slices.Contains(t.local, w.dst) && hook == "prerouting" {
		return outcome(out) // taken in, not sent on
	}
	if w.chain("postrouting") == Masquerade {
		out += " masquerade"
	}
	return outcome(out)
}

// chain answers the decision, or 0 if the chain made none.
func (w *walk) chain(name string) VerdictKind {
	c, ok := w.chains[name]
	if !ok {
		panic("no chain " + name)
	}
	for _, r := range c.Rules {
		if end := w.rule(r); end != 0 {
			return end
		}
	}
	return 0
}

// translated is what ends a chain after a translation; the hook goes on as with Accept.
const translated = Accept

func (w *walk) rule(r Rule) VerdictKind {
	for _, s := range r {
		switch s := s.(type) {
		case Match:
			if w.in(s.Set, w.fields(s.Fields, 0)) == s.Not {
				return 0
			}
		case Is:
			if w.is(s.Cond) == s.Not {
				return 0
			}
		case Branch:
			v, ok := w.elements[ElementID{Family: w.family, Map: s.Map, Key: w.fields(s.Fields, s.Number)}]
			switch {
			case !ok:
				return 0
			case v.Verdict.chainName() != "":
				if end := w.chain(v.Verdict.chainName()); end != 0 {
					return end
				}
				return Accept // a goto doesn't come back: the base chain's policy decides
			default:
				return v.Verdict.Kind
			}
		case Choose:
			v, ok := w.elements[ElementID{Family: w.family, Map: s.Map, Key: w.fields(s.Fields, s.Number)}]
			if !ok {
				return 0
			}
			w.target = v.Target
		case Learn:
			if w.learned[s.Set] == nil {
				w.learned[s.Set] = map[string]bool{}
			}
			w.learned[s.Set][w.fields(s.Fields, 0)] = true
		case Forget:
			delete(w.learned[s.Set], w.fields(s.Fields, 0))
		case Translate:
			w.dst, _ = netip.AddrFromSlice([]byte(w.target[:4]))
			w.port = binary.BigEndian.Uint16([]byte(w.target[4:]))
			return translated
		case Jump:
			if end := w.chain(s.Chain); end != 0 {
				return end
			}
		case End:
			return s.Kind
		}
	}
	return 0
}

func (w *walk) fields(fields []Field, number int) string {
	k := key(nil)
	for _, f := range fields {
		switch f {
		case SrcAddr:
			k = k.addr(w.src)
		case DstAddr:
			k = k.addr(w.dst)
		case Proto:
			k = k.proto(w.proto)
		case DstPort:
			k = k.port(w.port)
		case AnyAddr:
			k = k.addr(w.family.zero())
		case Random:
			k = k.index(w.random(number))
		case Slot:
			k = k.index(number)
		case OrigAddr:
			k = k.addr(w.orig.dst)
		case OrigPort:
			k = k.port(w.orig.port)
		}
	}
	return string(k)
}

func (w *walk) in(set MapName, k string) bool {
	if prefixes, ok := w.prefixes[set]; ok {
		addr, _ := netip.AddrFromSlice([]byte(k))
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	if set == GuardAllowed {
		for id := range w.elements {
			if id.Map == set && id.Key[:len(k)] <= k && k <= id.Key[len(k):] {
				return true
			}
		}
		return false
	}
	_, ok := w.elements[ElementID{Family: w.family, Map: set, Key: k}]
	return ok || w.learned[set][k]
}

func (w *walk) is(c Condition) bool {
	switch c {
	case SrcLocal:
		return slices.Contains(w.local, w.src)
	case DstLocal:
		return slices.Contains(w.local, w.dst)
	case ToLoopback:
		return slices.Contains(w.local, w.dst)
	case Translated:
		return w.dst != w.orig.dst || w.port != w.orig.port
	default: // IsTCP
		return w.proto == unix.IPPROTO_TCP
	}
}

// outcomes lists every outcome that chance allows.
func (t *tracer) outcomes(p packet) string {
	seen := map[outcome]bool{}
	for i := range 12 {
		t.random = func(n int) int { return i % n }
		clear(t.learned)
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

func testPlanner() Planner { return Planner{Families: []Family{IPv4}, Node: testNode, Zone: "z1"} }

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

func parsePacket(t *testing.T, origin, to string) packet {
	t.Helper()
	proto, at, _ := strings.Cut(to, " ")
	dst, err := netip.ParseAddrPort(at)
	if err != nil || !from[origin].IsValid() {
		t.Fatalf("packet from %s to %s: %v", origin, to, err)
	}
	return packet{src: from[origin], dst: dst.Addr(), port: dst.Port(), proto: protocolNumber(corev1.Protocol(strings.ToUpper(proto)))}
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
	s := newState()
	trace := newTracer(testConfig(), nil)
	plan := func(endpoints ...string) {
		s.put("web", testPlanner().Service(svc, []*discoveryv1.EndpointSlice{slice("web", 8080, endpoints...)}, s.value))
		next := newTracer(testConfig(), s.content())
		next.learned = trace.learned
		trace = next
	}
	ask := func(client, chance int) outcome {
		trace.random = func(n int) int { return chance % n }
		return trace.send(packet{
			src: netip.AddrFrom4([4]byte{10, 244, 9, byte(client)}), dst: netip.MustParseAddr("10.96.0.100"), proto: unix.IPPROTO_TCP, port: 80,
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
		return len(newTracer(testConfig(), all).chains)
	}
	if one, many := chains(1), chains(500); one != many {
		t.Errorf("%d chains for one Service, %d for 500", one, many)
	}
}
