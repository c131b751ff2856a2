package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skiff/kubelet/network/nstest"
)

// host is everything in the namespace that the network may leave behind.
func host(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
	}
	for _, r := range routes {
		out = append(out, "route "+r.String())
	}
	slices.Sort(out)
	return out
}

func TestSetupAndCleanup(t *testing.T) {
	nstest.Need(t)
	for _, bridging := range []Bridging{Filtered, Routed} {
		before := host(t)
		c := testConfig(t)
		c.Bridging = bridging
		setupTwice(t, c)
		bridge, err := netlink.LinkByName(c.BridgeName)
		if err != nil {
			t.Fatal(err)
		}
		mac := bridge.Attrs().HardwareAddr.String()
		pod := nstest.New(t, "pod")
		pod.Attach(t, nstest.Port{Bridge: c.BridgeName, Addr: netip.MustParsePrefix("10.244.3.9/24"), Gateway: netip.MustParseAddr("10.244.3.1")})
		if again, err := netlink.LinkByName(c.BridgeName); err != nil || again.Attrs().HardwareAddr.String() != mac {
			t.Errorf("%s: the gateway's hardware address changed with a pod: %v", bridging, err)
		}
		for _, path := range []string{c.confFile(), c.loopbackFile()} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: %s: %v", bridging, path, err)
			}
		}
		if left, err := filepath.Glob(filepath.Join(c.CNIConfDir, ".cni-*")); err != nil || len(left) > 0 {
			t.Errorf("temporary files left: %v", left)
		}
		for range 2 {
			if err := Cleanup(c); err != nil {
				t.Errorf("%s: %v", bridging, err)
			}
		}
		if after := host(t); !slices.Equal(before, after) {
			t.Errorf("%s: left behind: %v, before: %v", bridging, after, before)
		}
		if files, err := os.ReadDir(c.CNIConfDir); err != nil || len(files) > 0 {
			t.Errorf("%s: files left: %v", bridging, files)
		}
	}
}

// setupTwice: the second time must find everything done and change nothing.
func setupTwice(t *testing.T, c Config) {
	t.Helper()
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.confFile())
	if err != nil {
		t.Fatal(err)
	}
	first := host(t)
	if err := n.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second := host(t); !slices.Equal(first, second) {
		t.Errorf("set up twice: %v, once: %v", second, first)
	}
	if again, err := os.Stat(c.confFile()); err != nil || !again.ModTime().Equal(info.ModTime()) {
		t.Errorf("the CNI configuration was written again: %v", err)
	}
}

// TestNothingLeaves: without any rule packets for the cluster are refused on the host, although there is a default route.
func TestNothingLeaves(t *testing.T) {
	nstest.Need(t)
	out := nstest.New(t, "out")
	out.Join(t, netip.MustParsePrefix("198.51.100.2/24"), netip.MustParseAddr("198.51.100.1"))
	if err := netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(198, 51, 100, 2)}); err != nil {
		t.Fatal(err)
	}
	c := testConfig(t)
	setupTwice(t, c)
	defer func() {
		if err := Cleanup(c); err != nil {
			t.Error(err)
		}
	}()
	for to, wantBridge := range map[string]bool{
		"10.96.5.5": true, "10.244.3.9": true, "10.244.7.7": false, "192.0.2.1": false,
	} {
		routes, err := netlink.RouteGet(net.ParseIP(to))
		switch {
		case to == "10.244.7.7":
			if !errors.Is(err, unix.EHOSTUNREACH) {
				t.Errorf("%s (another node's pod): %v, %v", to, routes, err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", to, err)
			continue
		}
		link, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err != nil || (link.Attrs().Name == c.BridgeName) != wantBridge {
			t.Errorf("%s goes to %v: %v", to, link, err)
		}
	}
	if addrs, err := c.NodeAddresses(); err != nil || addrs[0].String() != "198.51.100.1" {
		t.Errorf("node addresses %v: %v", addrs, err)
	}
	// With the bridge gone the Service range is refused, not sent to the default route.
	if err := c.removeLinks(); err != nil {
		t.Fatal(err)
	}
	if routes, err := netlink.RouteGet(net.ParseIP("10.96.5.5")); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("without the bridge a Service address goes to %v: %v", routes, err)
	}
}

func TestNodeAddress(t *testing.T) {
	nstest.Need(t)
	c := testConfig(t)
	is := func(what, want string) {
		t.Helper()
		if got, err := c.NodeAddresses(); err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: %v, %v, want %s", what, got, err, want)
		}
	}
	is("only loopback", "10.244.3.1")
	a, b := nstest.New(t, "a"), nstest.New(t, "b")
	a.Join(t, netip.MustParsePrefix("198.51.100.2/24"), netip.MustParseAddr("198.51.100.1"))
	is("some link", "198.51.100.1")
	b.Join(t, netip.MustParsePrefix("203.0.113.2/24"), netip.MustParseAddr("203.0.113.1"))
	route := &netlink.Route{Gw: net.IPv4(203, 0, 113, 2)}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	is("default route", "203.0.113.1")
	c.NodeAddress = netip.MustParseAddr("192.0.2.7")
	is("configured", "192.0.2.7")
}

func TestOverlap(t *testing.T) {
	nstest.Need(t)
	other := nstest.New(t, "other")
	other.Join(t, netip.MustParsePrefix("10.96.7.2/24"), netip.MustParseAddr("10.96.7.1"))
	n, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Setup(t.Context()); err == nil || !strings.Contains(err.Error(), "10.96.0.0/16 is in use: the host routes 10.96.7.0/24 to") {
		t.Errorf("overlapping routes: %v", err)
	}
}

func TestTakenBridgeName(t *testing.T) {
	nstest.Need(t)
	c := testConfig(t)
	c.BridgeName = "lo"
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Setup(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another bridge name") {
		t.Errorf("a link of another kind: %v", err)
	}
	if err := Cleanup(c); err == nil {
		t.Error("cleanup took a link that isn't a bridge")
	}
}

func TestRunEnds(t *testing.T) {
	nstest.Need(t)
	c := testConfig(t)
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := netlink.LinkByName(c.BridgeName); err != nil {
		t.Errorf("the network must outlive Run: %v", err)
	}
	if err := Cleanup(c); err != nil {
		t.Error(err)
	}
}
