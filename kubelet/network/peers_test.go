package network

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"skiff/kubelet/network/nstest"
)

func peerNode(name, address string, cidrs ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: cidrs}}
	if address != "" {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}
	}
	return n
}

func peersConfig(mode Mode) PeersConfig {
	return PeersConfig{
		Node: "a", Address: netip.MustParseAddr("192.0.2.10"), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Mode: mode, LinkName: "testvx",
	}
}

func TestPlanPeers(t *testing.T) {
	nodes := []*corev1.Node{
		peerNode("c", "192.0.2.12", "10.244.2.0/24"),
		peerNode("a", "192.0.2.10", "10.244.0.0/24"),
		peerNode("b", "192.0.2.11", "10.244.1.0/24", "fd00::/64"),
		peerNode("no-range", "192.0.2.13"),
		peerNode("no-address", "", "10.244.4.0/24"),
		peerNode("same-address", "192.0.2.10", "10.244.5.0/24"),
		peerNode("same-range", "192.0.2.14", "10.244.0.0/24"),
		peerNode("elsewhere", "192.0.2.15", "10.99.0.0/24"),
		peerNode("everything", "192.0.2.16", "0.0.0.0/0"),
		{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.6.0/24"}, Status: peerNode("old", "192.0.2.17").Status},
	}
	plan := PlanPeers(nodes, peersConfig(HostGateway))
	var got []string
	for _, p := range plan.Peers {
		got = append(got, p.Node+" "+p.Address.String()+" "+p.PodCIDRs[0].String())
		if len(p.PodCIDRs) != 1 {
			t.Errorf("%s has %v", p.Node, p.PodCIDRs)
		}
	}
	want := []string{"b 192.0.2.11 10.244.1.0/24", "c 192.0.2.12 10.244.2.0/24", "old 192.0.2.17 10.244.6.0/24"}
	if !slices.Equal(got, want) || len(plan.Own) != 1 || plan.Own[0].String() != "10.244.0.0/24" {
		t.Errorf("own %v, peers %v, want %v", plan.Own, got, want)
	}
}

func TestMoved(t *testing.T) {
	before := peerNode("a", "192.0.2.10", "10.244.0.0/24")
	beat := before.DeepCopy()
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	again := before.DeepCopy()
	again.UID = "2"
	for name, tt := range map[string]struct {
		after any
		want  bool
	}{
		"a heartbeat": {beat, false}, "another address": {peerNode("a", "192.0.2.99", "10.244.0.0/24"), true},
		"another range": {peerNode("a", "192.0.2.10", "10.244.9.0/24"), true}, "another node": {again, true},
	} {
		if moved(before, tt.after) != tt.want {
			t.Errorf("%s: %v", name, !tt.want)
		}
	}
}

// ways lists the routes to peers as text.
func ways(t *testing.T) (out []string) {
	t.Helper()
	routes, err := peerRoutes([]netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.Dst.String()+" "+r.Gw.String()+" "+link.Attrs().Name)
	}
	slices.Sort(out)
	return out
}

func expectWays(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := ways(t); !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", when, got, want)
	}
}

// underlay is the link that other nodes are behind.
func underlay(t *testing.T) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "under0"
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	addr, err := netlink.ParseAddr("192.0.2.10/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
}

func TestPeerRoutes(t *testing.T) {
	nstest.Need(t)
	underlay(t)
	before := host(t)
	nodes := []*corev1.Node{
		peerNode("a", "192.0.2.10", "10.244.0.0/24"), peerNode("b", "192.0.2.11", "10.244.1.0/24"),
		peerNode("c", "192.0.2.12", "10.244.2.0/24"), peerNode("far", "198.51.100.1", "10.244.3.0/24"),
	}
	c := peersConfig(HostGateway)
	behind := peerNode("behind", "203.0.113.1", "10.244.4.0/24")
	via := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Gw: netip.MustParseAddr("192.0.2.1").AsSlice()}
	if err := netlink.RouteAdd(via); err != nil {
		t.Fatal(err)
	}
	problems, err := c.apply(PlanPeers(append(slices.Clone(nodes), behind), c))
	if want := "its address 203.0.113.1 is not on a subnet of this host, as --node-network=host-gw needs: start the server with --node-network=vxlan"; err != nil || problems["behind"] != want {
		t.Errorf("behind a router: %q, %v", problems["behind"], err)
	}
	if err := netlink.RouteDel(via); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		problems, err := c.apply(PlanPeers(nodes, c))
		if err != nil || len(problems) != 1 || !strings.Contains(problems["far"], "198.51.100.1 can't be reached") {
			t.Errorf("problems %v, %v", problems, err)
		}
		expectWays(t, "host-gw", "10.244.1.0/24 192.0.2.11 under0", "10.244.2.0/24 192.0.2.12 under0")
	}
	nodes[1].Status.Addresses[1].Address = "192.0.2.21"
	if _, err := c.apply(PlanPeers(nodes[:2], c)); err != nil {
		t.Error(err)
	}
	expectWays(t, "one moved, one gone", "10.244.1.0/24 192.0.2.21 under0")
	v := peersConfig(VXLAN)
	for range 2 {
		if problems, err := v.apply(PlanPeers(nodes, v)); err != nil || len(problems) > 0 {
			t.Errorf("problems %v, %v", problems, err)
		}
		expectWays(t, "vxlan", "10.244.1.0/24 10.244.1.1 testvx", "10.244.2.0/24 10.244.2.1 testvx", "10.244.3.0/24 10.244.3.1 testvx")
	}
	expectTunnels(t, "192.0.2.21", "192.0.2.12", "198.51.100.1")
	if _, err := v.apply(PlanPeers(nodes[:2], v)); err != nil {
		t.Error(err)
	}
	expectTunnels(t, "192.0.2.21")
	if _, err := c.apply(PlanPeers(nodes[:2], c)); err != nil {
		t.Error(err)
	}
	expectWays(t, "host-gw again", "10.244.1.0/24 192.0.2.21 under0")
	for range 2 {
		if err := CleanupPeers(c); err != nil {
			t.Error(err)
		}
	}
	if after := host(t); !slices.Equal(before, after) {
		t.Errorf("left behind: %v, before: %v", after, before)
	}
}

// expectTunnels compares where the forwarding entries of the link lead.
func expectTunnels(t *testing.T, want ...string) {
	t.Helper()
	link, err := netlink.LinkByName("testvx")
	if err != nil {
		t.Fatal(err)
	}
	for family, prefix := range map[int]string{netlink.FAMILY_V4: "10.244.", 7: ""} { // 7 is AF_BRIDGE
		entries, err := netlink.NeighList(link.Attrs().Index, family)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			if e.State&netlink.NUD_PERMANENT != 0 {
				got = append(got, e.IP.String())
			}
		}
		slices.Sort(got)
		if prefix != "" {
			if len(got) != len(want) || !strings.HasPrefix(got[0], prefix) {
				t.Errorf("neighbours %v, want %d", got, len(want))
			}
			continue
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("forwarding to %v, want %v", got, want)
		}
	}
}

// TestPeersFollowNodes has nodes come and go, and what can't be routed is told once.
func TestPeersFollowNodes(t *testing.T) {
	nstest.Need(t)
	underlay(t)
	client := fake.NewClientset(peerNode("a", "192.0.2.10", "10.244.0.0/24"), peerNode("far", "198.51.100.1", "10.244.3.0/24"))
	factory := informers.NewSharedInformerFactory(client, 0)
	events := record.NewFakeRecorder(10)
	p, err := NewPeers(peersConfig(HostGateway), PeersDeps{Informers: factory, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	store := factory.Core().V1().Nodes().Informer().GetStore()
	for i := range nodes.Items {
		_ = store.Add(&nodes.Items[i])
	}
	for range 2 {
		p.sync(t.Context())
	}
	if len(events.Events) != 1 {
		t.Errorf("%d events", len(events.Events))
	}
	if got := <-events.Events; !strings.HasPrefix(got, "Warning FailedToCreateRoute Could not create route to the pods of node far: its address 198.51.100.1") {
		t.Errorf("told %q", got)
	}
	_ = store.Add(peerNode("b", "192.0.2.11", "10.244.1.0/24"))
	p.sync(t.Context())
	expectWays(t, "a node more", "10.244.1.0/24 192.0.2.11 under0")
	_ = store.Delete(peerNode("b", "192.0.2.11"))
	p.sync(t.Context())
	expectWays(t, "gone")
	if _, err := NewPeers(PeersConfig{Mode: "magic"}, PeersDeps{Informers: factory}); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// TestOwnRangeWasAPeers takes over a range that the host routed to a node that is gone.
func TestOwnRangeWasAPeers(t *testing.T) {
	nstest.Need(t)
	underlay(t)
	peers := peersConfig(HostGateway)
	c := testConfig(t)
	if _, err := peers.apply(PlanPeers([]*corev1.Node{peerNode("b", "192.0.2.11", c.PodCIDRs[0].String())}, peers)); err != nil {
		t.Fatal(err)
	}
	if len(ways(t)) != 1 {
		t.Fatalf("routes %v", ways(t))
	}
	setupTwice(t, c)
	expectWays(t, "own now")
	if found, err := netlink.RouteGet(c.PodCIDRs[0].Addr().Next().Next().AsSlice()); err != nil || found[0].Gw != nil {
		t.Errorf("pods are at %v, %v", found, err)
	}
	if err := Cleanup(c); err != nil {
		t.Error(err)
	}
}
