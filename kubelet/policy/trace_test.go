package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"pgregory.net/rapid"

	"skiff/kubelet/nft"
	"skiff/kubelet/nft/nfttest"
)

// testAddrs names the ends of connections in the tables. web, db, client and dual are pods of this node, far and other
// of another.
var testAddrs = map[string]string{
	"web": "10.244.0.11", "db": "10.244.0.12", "client": "10.244.0.13", "other": "10.244.5.5", "far": "10.244.5.6", "dns": "10.244.5.53",
	"outside": "203.0.113.7", "office": "198.51.100.7", "guest": "198.51.100.200",
	"web6": "fd00::11", "client6": "fd00::13", "outside6": "2001:db8::7", "office6": "2001:db8:1::7", "guest6": "2001:db8:1:f::7",
}

// testCluster has namespaces default, prod (team=ops) and kube-system.
func testCluster() []any {
	return []any{
		newTestNamespace("default", ""), newTestNamespace("prod", "team=ops"), newTestNamespace("kube-system", ""),
		newTestPod("default/web", testNode, "app=web", "10.244.0.11,fd00::11"),
		newTestPod("default/db", testNode, "app=db,role=data", "10.244.0.12"),
		newTestPod("default/client", testNode, "app=client", "10.244.0.13,fd00::13"),
		newTestPod("prod/other", "node-b", "app=web", "10.244.5.5"),
		newTestPod("default/far", "node-b", "app=client", "10.244.5.6"),
		newTestPod("kube-system/dns", "node-b", "k8s-app=kube-dns", "10.244.5.53"),
	}
}

var families = []nft.Family{nft.IPv4, nft.IPv6}

func newTracer(f nft.Family, content Changes) *nfttest.Tracer {
	t := nfttest.New(f)
	t.Ranged = ranged
	t.AddChains(forward(f, "br"))
	t.Prefixes[LinkLocal] = linkLocal()
	t.AddChains(content.AddedChains[f]...)
	for _, s := range content.AddedSets[f] {
		if strings.HasPrefix(string(s.Name), blocksPrefix) {
			t.Prefixes[s.Name] = s.Prefixes
		}
		nfttest.AddElements(t, s.Elements)
	}
	nfttest.AddElements(t, content.Elements.Added)
	return t
}

// allowed reports whether a connection "CLIENT -> SERVER PROTOCOL [PORT]" is let through.
func allowed(t testing.TB, content Changes, connection string) bool {
	t.Helper()
	words := strings.Fields(connection)
	src, dst := netip.MustParseAddr(testAddrs[words[0]]), netip.MustParseAddr(testAddrs[words[2]])
	p := nfttest.Packet{Src: src, Dst: dst}
	switch words[3] {
	case "icmp":
		p.Proto = unix.IPPROTO_ICMP
	default:
		p.Proto = nft.ProtocolNumber(corev1.Protocol(strings.ToUpper(words[3])))
	}
	if len(words) > 4 {
		p.Port = uint16(portOf(words[3] + " " + words[4]).Port.IntVal)
	}
	return newTracer(familyOf(src), content).Send(p).Chain("forward") != nft.Drop
}

// policyCase is policies and what they let through; a connection that begins with "no" is denied.
type policyCase struct {
	what        string
	specs       string // YAML of the policies of namespace default, one after a "---"
	connections string // separated by ";"
}

func cases() []policyCase {
	return []policyCase{
		{"no policy", "", "far -> web tcp 80; web -> outside udp 53; client -> web icmp; outside -> web sctp 9"},
		{"deny all ingress to web", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress]",
			"no far -> web tcp 80; no client -> web udp 53; no outside -> web tcp 80; no client -> web icmp; no client6 -> web6 tcp 80; web -> outside tcp 443; far -> db tcp 80; web -> web tcp 80; web -> db tcp 80"},
		{"deny all, by default", "podSelector: {}\npolicyTypes: [Ingress, Egress]",
			"no far -> web tcp 80; no web -> outside tcp 443; no client -> db tcp 1; other -> far tcp 80; web -> web tcp 80; web6 -> web6 udp 9; no web6 -> outside6 tcp 1"},
		{"ingress by default", "podSelector: {}\ningress: [{}]", "far -> web tcp 80; outside -> web icmp; web -> outside tcp 1"},
		{"types default to ingress", "podSelector: {}", "no far -> web tcp 80; web -> outside tcp 80"},
		{"types default to egress too", "podSelector: {matchLabels: {app: web}}\negress: [{to: [{podSelector: {}}]}]",
			"no far -> web tcp 80; web -> far tcp 80; web -> db tcp 80; no web -> outside tcp 80; no web -> other tcp 80"},
		{"egress alone", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]", "far -> web tcp 80; no web -> db tcp 80; db -> web tcp 1"},
		{"types leave out rules", "podSelector: {}\npolicyTypes: [Ingress]\ningress: [{}]\negress: [{to: [{podSelector: {}}]}]", "web -> outside tcp 80; far -> web tcp 1"},
		{"allow all egress", "podSelector: {}\npolicyTypes: [Egress]\negress: [{}]", "web -> outside tcp 80; web -> outside icmp; outside -> web tcp 80"},
		{"empty from", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [], ports: [{port: 80}]}]",
			"outside -> web tcp 80; far -> web tcp 80; no far -> web udp 80; no far -> web tcp 81; no far -> web icmp; client6 -> web6 tcp 80"},
		{"from pods of the namespace", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]",
			"client -> web tcp 1; client -> web icmp; far -> web tcp 80; client6 -> web6 tcp 1; no db -> web tcp 80; no other -> web tcp 80; no outside -> web tcp 80"},
		{"from all pods of the namespace", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {}}]}]",
			"db -> web tcp 80; far -> web tcp 80; no other -> web tcp 80; no outside -> web tcp 80"},
		{"from a namespace", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]",
			"other -> web tcp 80; no client -> web tcp 80; no dns -> web tcp 80"},
		{"from all namespaces", "podSelector: {}\ningress: [{from: [{namespaceSelector: {}}]}]", "other -> web tcp 80; client -> web tcp 80; dns -> web udp 1; no outside -> web tcp 80"},
		{"from some pods of a namespace", "podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: client}}}]}]",
			"no other -> web tcp 80; no client -> web tcp 80"},
		{"from these pods of a namespace", "podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: web}}}]}]",
			"other -> web tcp 80; no client -> web tcp 80; no dns -> web tcp 80"},
		{"from a namespace or pods", "podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}, {podSelector: {matchLabels: {app: client}}}]}]",
			"other -> db tcp 80; client -> db tcp 80; far -> db tcp 80; no web -> db tcp 80"},
		{"by expression", "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}\ningress: [{from: [{podSelector: {matchExpressions: [{key: role, operator: Exists}]}}]}]",
			"outside -> web tcp 80; db -> client tcp 80; no web -> client tcp 80"},
		{"from addresses", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}]}]",
			"office -> web tcp 80; office -> web icmp; no guest -> web tcp 80; no outside -> web tcp 80; no client -> web tcp 80; no outside6 -> web6 tcp 80"},
		{"from IPv6 addresses", "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: '2001:db8:1::/48', except: ['2001:db8:1:f::/64']}}]}]",
			"office6 -> web6 tcp 80; no guest6 -> web6 tcp 80; no outside6 -> web6 tcp 80; no office -> web tcp 80"},
		{"everywhere but", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 198.51.100.0/24]}}]}]",
			"web -> outside tcp 443; no web -> db tcp 80; no web -> office tcp 80; no web6 -> outside6 tcp 80"},
		{"blocks have pods too", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 10.244.5.0/24}}]}]", "web -> far tcp 80; no web -> db tcp 80"},
		{"exception within one block only", "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/25]}}, {ipBlock: {cidr: 198.51.100.7/32}}]}]",
			"office -> web tcp 80; guest -> web tcp 80; no outside -> web tcp 80"},
		{"one port", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {}}], ports: [{protocol: TCP, port: 80}]}]",
			"client -> web tcp 80; no client -> web tcp 81; no client -> web udp 80; no outside -> web tcp 80; no other -> web tcp 80"},
		{"protocol defaults to TCP", "podSelector: {}\ningress: [{ports: [{port: 80}]}]", "far -> web tcp 80; no far -> web sctp 80"},
		{"whole protocol", "podSelector: {}\ningress: [{ports: [{protocol: SCTP}]}]", "far -> web sctp 80; far -> web sctp 65535; no far -> web tcp 80; no far -> web icmp"},
		{"range of ports", "podSelector: {}\ningress: [{ports: [{protocol: UDP, port: 8000, endPort: 8010}, {protocol: UDP, port: 8005, endPort: 8020}, {port: 65535, endPort: 65535}]}]",
			"far -> web udp 8000; far -> web udp 8015; far -> web udp 8020; no far -> web udp 8021; no far -> web udp 7999; no far -> web tcp 8000; far -> web tcp 65535"},
		{"named port", "podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: http}, {protocol: UDP, port: dns}]}]",
			"far -> web tcp 80; far -> web udp 53; no far -> web udp 80; no far -> web tcp 53; no far -> web tcp 8080; client6 -> web6 tcp 80"},
		{"named port of another protocol", "podSelector: {}\ningress: [{ports: [{port: dns}]}]", "no far -> web tcp 53; no far -> web udp 53"},
		{"unknown named port", "podSelector: {}\ningress: [{ports: [{port: none}]}]", "no far -> web tcp 80"},
		{"named port of peers", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]",
			"web -> far tcp 80; web -> client tcp 80; no web -> far tcp 81; no web -> db tcp 80; no web -> outside tcp 80"},
		{"named port anywhere", "podSelector: {}\npolicyTypes: [Egress]\negress: [{ports: [{port: http}]}]", "web -> other tcp 80; web -> db tcp 80; no web -> outside tcp 80; no web -> db tcp 81"},
		{"DNS only", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]}]",
			"web -> dns udp 53; web -> dns tcp 53; no web -> dns tcp 80; no web -> outside udp 53; no web -> db tcp 80; far -> web tcp 80"},
		{"union", "podSelector: {}\npolicyTypes: [Ingress]\n---\npodSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 80}]}]\n---\npodSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]",
			"outside -> web tcp 80; db -> web udp 9; no client -> web udp 9; no web -> db tcp 80"},
		{"both sides must allow", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]\n---\npodSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{ports: [{port: 80}]}]",
			"client -> web tcp 80; no client -> web tcp 81; far -> web tcp 81"},
		{"no rule", "podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: []\negress: []", "no far -> web tcp 80; no web -> far tcp 80"},
		{"selects nobody", "podSelector: {matchLabels: {app: nobody}}", "far -> web tcp 80"},
	}
}

func policies(t testing.TB, specs string) []any {
	var out []any
	for i, spec := range strings.Split(specs, "\n---\n") {
		if spec != "" {
			out = append(out, newTestPolicy(t, "default/p"+string(rune('0'+i)), spec))
		}
	}
	return out
}

// TestTrace sends packets through the rules of every feature of the API, told in either order.
func TestTrace(t *testing.T) {
	for _, c := range cases() {
		for _, first := range []string{"policies", "cluster"} {
			b := NewBook(testNode, families)
			if first == "policies" {
				fill(b, append(policies(t, c.specs), testCluster()...)...)
			} else {
				fill(b, append(testCluster(), policies(t, c.specs)...)...)
			}
			content := b.Content()
			for connection := range strings.SplitSeq(c.connections, ";") {
				connection, deny := strings.CutPrefix(strings.TrimSpace(connection), "no ")
				if got := allowed(t, content, connection); got == deny {
					t.Errorf("%s (%s first): %s: allowed %v", c.what, first, connection, got)
				}
			}
		}
	}
}

// TestKnownConnections: what answers, or goes on, isn't judged; neither is neighbour discovery.
func TestKnownConnections(t *testing.T) {
	b := NewBook(testNode, families)
	fill(b, append(testCluster(), policies(t, "podSelector: {}\npolicyTypes: [Ingress, Egress]")...)...)
	content := b.Content()
	addr := func(name string) netip.Addr { return netip.MustParseAddr(testAddrs[name]) }
	for what, p := range map[string]nfttest.Packet{
		"going on":       {Src: addr("far"), Dst: addr("web"), Proto: unix.IPPROTO_TCP, Port: 80, Known: true},
		"going on, IPv6": {Src: addr("client6"), Dst: addr("web6"), Proto: unix.IPPROTO_TCP, Port: 80, Known: true},
		"discovery":      {Src: addr("client6"), Dst: addr("web6"), Proto: unix.IPPROTO_ICMPV6, ICMPType: 135},
	} {
		if newTracer(familyOf(p.Src), content).Send(p).Chain("forward") != nft.Accept {
			t.Errorf("%s: dropped", what)
		}
		p.Known, p.ICMPType = false, 128
		if newTracer(familyOf(p.Src), content).Send(p).Chain("forward") != nft.Drop {
			t.Errorf("%s: an echo request, or a new connection, was let through", what)
		}
	}
	p := nfttest.Packet{Src: addr("far"), Dst: addr("web"), Proto: unix.IPPROTO_ICMPV6, ICMPType: 135}
	for link, want := range map[string]nft.VerdictKind{"br": nft.Drop, "other": 0} {
		local := nfttest.Packet{Src: netip.MustParseAddr("fe80::1"), Dst: netip.MustParseAddr("fe80::2"), Proto: unix.IPPROTO_TCP, Link: link}
		if got := newTracer(nft.IPv6, content).Send(local).Chain("forward"); got != want {
			t.Errorf("between link-local addresses on %s: %v", link, got)
		}
	}
	if newTracer(nft.IPv4, content).Send(p).Chain("forward") != nft.Drop {
		t.Error("IPv4 has no neighbour discovery to let through")
	}
}

// TestToMany: what every pod of the bridge would get is dropped while one of them must not.
func TestToMany(t *testing.T) {
	b := NewBook(testNode, families)
	fill(b, testCluster()...)
	check := func(what string, want bool) {
		t.Helper()
		for src, dst := range map[string]string{"10.244.0.13": "224.0.0.251", "fd00::13": "ff02::1"} {
			p := nfttest.Packet{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Proto: unix.IPPROTO_UDP, Port: 80, Link: "br"}
			if got := newTracer(familyOf(p.Src), b.Content()).Send(p).Chain("forward") != nft.Drop; got != want {
				t.Errorf("%s: to %s: allowed %v", what, dst, got)
			}
			p.Link = "other"
			if newTracer(familyOf(p.Src), b.Content()).Send(p).Chain("forward") == nft.Drop {
				t.Errorf("%s: to %s: dropped although it isn't from the pods", what, dst)
			}
		}
	}
	check("no policy", true)
	fill(b, policies(t, "podSelector: {matchLabels: {app: db}}\npolicyTypes: [Egress]\n---\npodSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 443}]}]")...)
	check("an isolated pod", false)
	b.SetPolicy(Name{"default", "p1"}, nil)
	check("isolated for egress only", true)
}

// TestPodLives: what a pod is at the moment decides, whatever it was.
func TestPodLives(t *testing.T) {
	b := NewBook(testNode, families)
	fill(b, append(testCluster(), policies(t, "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]")...)...)
	check := func(what, connection string, want bool) {
		t.Helper()
		if got := allowed(t, b.Content(), connection); got != want {
			t.Errorf("%s: %s: allowed %v", what, connection, got)
		}
	}
	far := func(change func(*corev1.Pod)) {
		p := newTestPod("default/far", "node-b", "app=client", "10.244.5.6")
		change(p)
		fill(b, p)
	}
	check("at first", "far -> web tcp 80", true)
	far(func(p *corev1.Pod) { p.Labels["app"] = "x" })
	check("labels changed", "far -> web tcp 80", false)
	far(func(*corev1.Pod) {})
	check("labels changed back", "far -> web tcp 80", true)
	far(func(p *corev1.Pod) { p.DeletionTimestamp = &p.CreationTimestamp })
	check("terminating", "far -> web tcp 80", true)
	far(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	check("completed", "far -> web tcp 80", false)
	far(func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	check("on its host's network", "far -> web tcp 80", false)
	far(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} })
	check("without address", "far -> web tcp 80", false)
	b.SetPod(Name{"default", "far"}, newTestPod("default/far", "node-b", "app=client", ""), &lease{addrs: []netip.Addr{netip.MustParseAddr("10.244.5.6")}})
	check("with an address that the API doesn't know", "far -> web tcp 80", true)
	b.SetPod(Name{"default", "far"}, nil, nil)
	check("gone", "far -> web tcp 80", false)

	web := func(change func(*corev1.Pod)) {
		p := newTestPod("default/web", testNode, "app=web", "10.244.0.11")
		change(p)
		fill(b, p)
	}
	check("isolated", "other -> web tcp 80", false)
	web(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	check("failed", "other -> web tcp 80", true)
	web(func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	check("on the host's network", "other -> web tcp 80", true)
	web(func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 8080 })
	check("with its named port elsewhere", "client -> web tcp 80", false)
	check("with its named port elsewhere", "client -> web tcp 8080", true)
	b.SetPolicy(Name{"default", "p0"}, nil)
	check("policy gone", "other -> web tcp 80", true)
	if left := b.Content(); !left.Empty() {
		t.Errorf("left: %+v", left)
	}
}

// TestNewerPodHasAddress: an address may be given to another pod before the last one's object is gone.
func TestNewerPodHasAddress(t *testing.T) {
	b := NewBook(testNode, families)
	fill(b, append(testCluster(), policies(t, "podSelector: {matchLabels: {app: web}}")...)...)
	next := newTestPod("default/next", testNode, "app=next", "10.244.0.11")
	next.CreationTimestamp.Time = next.CreationTimestamp.AddDate(2000, 0, 0)
	fill(b, next)
	if !allowed(t, b.Content(), "far -> web tcp 80") {
		t.Error("the older pod's policy is applied to the newer one")
	}
	if allowed(t, b.Content(), "client6 -> web6 tcp 80") {
		t.Error("the address that the older pod still has is open")
	}
	b.SetPod(nameOf(next), nil, nil)
	if allowed(t, b.Content(), "far -> web tcp 80") {
		t.Error("the older pod has its address back, but isn't isolated")
	}
}

// TestNamespaceLabels: pods are peers by their namespace's labels of the moment.
func TestNamespaceLabels(t *testing.T) {
	b := NewBook(testNode, families)
	fill(b, append(testCluster(), policies(t, "podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]")...)...)
	for step, c := range []struct {
		namespace *corev1.Namespace
		want      bool
	}{{newTestNamespace("prod", "team=ops,more=1"), true}, {newTestNamespace("prod", ""), false}, {newTestNamespace("prod", "team=ops"), true}, {nil, false}} {
		b.SetNamespace("prod", c.namespace)
		if got := allowed(t, b.Content(), "other -> web tcp 80"); got != c.want {
			t.Errorf("step %d: allowed %v", step, got)
		}
	}
}

// TestBlock: what is left of a block is each of its addresses that no exception has, once.
func TestBlock(t *testing.T) {
	addr := func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 31).Draw(t, "last"))})
	}
	rapid.Check(t, func(t *rapid.T) {
		cidr := netip.PrefixFrom(addr(t), rapid.IntRange(26, 32).Draw(t, "bits")).Masked()
		b := &networkingv1.IPBlock{CIDR: cidr.String()}
		var excepts []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(t, "exceptions") {
			e := netip.PrefixFrom(addr(t), rapid.IntRange(26, 32).Draw(t, "bits")).Masked()
			excepts, b.Except = append(excepts, e), append(b.Except, e.String())
		}
		left := block(b)
		for i := range 32 {
			a, in := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 0
			for _, p := range left {
				if p.Contains(a) {
					in++
				}
			}
			want := cidr.Contains(a) && !slices.ContainsFunc(excepts, func(e netip.Prefix) bool { return e.Contains(a) })
			if (in == 1) != want || in > 1 {
				t.Fatalf("%s is in %d of %v, left of %+v", a, in, left, b)
			}
		}
	})
	if left := block(&networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"?"}}); len(left) > 0 {
		t.Errorf("an exception that can't be read leaves %v", left)
	}
}
