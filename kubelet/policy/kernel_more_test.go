package policy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"skiff/kubelet/network"
	"skiff/kubelet/nft"
	"skiff/kubelet/nft/nfttest"
	"skiff/kubelet/proxy"
)

// TestKernelOpenConnection: what was let through goes on when a policy would deny it; what is new is denied.
func TestKernelOpenConnection(t *testing.T) {
	w := newWorld(t, network.Filtered, false)
	conn, err := dial(w.ends["client"], "tcp", w.address("web", "80"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	w.policies("podSelector: {}\npolicyTypes: [Ingress, Egress]")
	w.check("denied", "no client -> web tcp 80")
	if err := echoes(conn); err != nil {
		t.Errorf("the open connection: %v", err)
	}
}

// TestKernelServices: a Service's traffic is judged by the pod and the port that it ends up at.
func TestKernelServices(t *testing.T) {
	for _, bridging := range []network.Bridging{network.Filtered, network.Routed} {
		t.Run(string(bridging), func(t *testing.T) {
			w := newWorld(t, bridging, false)
			w.serve()
			w.check("no policy", "client -> 10.96.0.100 tcp 5000; web -> 10.96.0.100 tcp 5000; office -> 198.51.100.1 tcp 30080")
			w.policies("podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}, {ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 8080}]}]")
			w.check("to the pod's port", "client -> 10.96.0.100 tcp 5000; office -> 198.51.100.1 tcp 30080; no db -> 10.96.0.100 tcp 5000; no guest -> 198.51.101.1 tcp 30080; node -> 10.96.0.100 tcp 5000; web -> 10.96.0.100 tcp 5000")
			w.policies("podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 5000}]}]")
			w.check("to the Service's port", "no client -> 10.96.0.100 tcp 5000")
			w.policies("podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]")
			w.check("from the pod", "client -> 10.96.0.100 tcp 5000; no client -> db tcp 80")
			w.policies("podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 10.96.0.0/16}}]}]")
			w.check("to the Service's address", "no client -> 10.96.0.100 tcp 5000")
		})
	}
}

// serve runs the Service proxy with a Service of web's port 8080 at 10.96.0.100:5000 and the node's port 30080.
func (w *world) serve() {
	w.t.Helper()
	p, err := proxy.New(proxy.Config{
		Table: testTable + "-services", NodeName: testNode, ServiceCIDRs: w.net.ServiceCIDRs, ClusterCIDRs: w.net.ClusterCIDRs,
		NodeIPs: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.101.1")},
	}, proxy.Deps{Informers: w.factory})
	if err != nil {
		w.t.Fatal(err)
	}
	port, protocol := int32(8080), corev1.ProtocolTCP
	_, err = w.client.CoreV1().Services("default").Create(w.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.100", ClusterIPs: []string{"10.96.0.100"},
			Ports: []corev1.ServicePort{{Port: 5000, NodePort: 30080, Protocol: protocol}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.client.DiscoveryV1().EndpointSlices("default").Create(w.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.11"}, NodeName: new(testNode)}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(w.t.Context(), klog.NewKlogr()))
	w.factory.Start(ctx.Done())
	var done sync.WaitGroup
	done.Go(func() {
		if err := p.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	<-p.Ready()
	w.t.Cleanup(func() {
		cancel()
		done.Wait()
		if err := proxy.Cleanup(testTable + "-services"); err != nil {
			w.t.Error(err)
		}
	})
}

// TestKernelAdmit: a pod's very first packet, and the first one to it, are judged, although the API doesn't know its
// addresses.
func TestKernelAdmit(t *testing.T) {
	w := newWorld(t, network.Filtered, false)
	w.policies("podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [{podSelector: {matchLabels: {app: late}}}]}]\negress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]")
	w.check("in force", "no client -> db tcp 80")
	late := newTestPod("default/late", testNode, "app=late", "")
	w.apply(late)
	w.eventually("the pod to be known", func() error {
		_, err := w.enforcer.pods.Pods("default").Get("late")
		return err
	})
	w.pod("late", 20)
	if err := w.enforcer.Admit(t.Context(), late, []string{"10.244.0.20"}); err != nil {
		t.Fatal(err)
	}
	for connection, want := range map[[2]string]bool{{"late", "web"}: true, {"late", "db"}: false, {"client", "late"}: false} {
		to := "10.244.0.20:80"
		if connection[1] != "late" {
			to = w.address(connection[1], "80")
		}
		within := unanswered
		if want {
			within = patience
		}
		conn, err := dial(w.ends[connection[0]], "tcp", to, within)
		if err == nil {
			err = atOnce(conn)
		}
		if conn != nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s to %s at once: %v", connection[0], connection[1], err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	unready, err := New(w.config, Deps{Informers: w.factory})
	if err != nil {
		t.Fatal(err)
	}
	if err := unready.Admit(gone, late, []string{"10.244.0.20"}); err == nil {
		t.Error("a pod was admitted although no policy is known")
	}
}

// TestKernelManyRanges: thousands of ranges, and of exceptions, are more than a netlink message holds.
func TestKernelManyRanges(t *testing.T) {
	w := newWorld(t, network.Filtered, false)
	var ranges, exceptions []string
	for i := range 4000 {
		ranges = append(ranges, fmt.Sprintf("{ipBlock: {cidr: 100.%d.%d.1/32}}", 64+i/256, i%256))
		exceptions = append(exceptions, fmt.Sprintf("100.%d.%d.1/32", 64+i/256, i%256))
	}
	w.policies(fmt.Sprintf("podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [%s, {ipBlock: {cidr: 198.51.100.0/24}}]}]\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [%s, 198.51.100.0/24]}}]}]",
		strings.Join(ranges, ", "), strings.Join(exceptions, ", ")))
	w.check("in force", "no guest -> web tcp 80; office -> web tcp 80; no web -> office tcp 80; web -> guest tcp 80")
}

// TestKernelRepair: whatever is done to the table, policies are in force again; other tables stay.
func TestKernelRepair(t *testing.T) {
	w := newWorld(t, network.Filtered, false)
	w.policies("podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 80}]}]")
	w.check("in force", "no client -> web tcp 8080; client -> web tcp 80")
	if err := nfttest.AddTable("other"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Cleanup("other") })
	for name, damage := range nfttest.Damages(testTable) {
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.check(name, "no client -> web tcp 8080; client -> web tcp 80")
	}
	if handle, err := nft.Handle(nft.IPv4, "other"); err != nil || handle == 0 {
		t.Errorf("another program's table is gone: %v", err)
	}
}

// TestKernelLinkLocal: pods can't go around policies by the IPv6 addresses that their links have by themselves.
func TestKernelLinkLocal(t *testing.T) {
	w := newWorld(t, network.Filtered, false)
	const filter = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
	if got, err := os.ReadFile(filter); err != nil || strings.TrimSpace(string(got)) != "1" {
		t.Fatalf("%s is %q: %v", filter, got, err)
	}
	var at string
	w.eventually("web to have a link-local address", func() error {
		return w.ends["web"].Do(func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
			if err != nil || len(addrs) == 0 || addrs[0].Flags&unix.IFA_F_TENTATIVE != 0 {
				return errors.Join(errors.New("not yet"), err)
			}
			at = "[" + addrs[0].IP.String() + "%eth0]:80"
			return nil
		})
	})
	talk := func() error {
		conn, err := dial(w.ends["client"], "tcp", at, unanswered)
		if conn != nil {
			_ = conn.Close()
		}
		return err
	}
	if err := os.WriteFile(filter, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.eventually("the bridge to carry it unfiltered", talk)
	if err := os.WriteFile(filter, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if talk() == nil {
		t.Error("the bridge carries what no policy judges")
	}
}

// TestKernelToMany: pods can't go around policies by sending to all pods of the bridge.
func TestKernelToMany(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(t *testing.T) {
			w := newWorld(t, network.Filtered, v6)
			from, groups := "10.244.0.13:0", []string{"10.244.0.255:80", "255.255.255.255:80"}
			if v6 {
				from, groups = "[fd00:10:244::13]:0", []string{"[ff02::1%eth0]:80"}
			}
			for _, group := range groups {
				w.eventually("the bridge to carry what is sent to "+group, func() error { return w.reaches(from, group, "web") })
			}
			w.policies("podSelector: {matchLabels: {app: web}}")
			w.check("in force", "no client -> web udp 80; client -> db udp 80")
			for _, group := range groups {
				if w.reaches(from, group, "web") == nil {
					t.Errorf("what is sent to %s reaches a pod that may receive nothing", group)
				}
			}
			w.policies("")
			for _, group := range groups {
				w.eventually("the bridge to carry again what is sent to "+group, func() error { return w.reaches(from, group, "web") })
			}
		})
	}
}

// reaches reports whether the pod answers a packet that client sends to a group.
func (w *world) reaches(from, group, pod string) error {
	return w.ends["client"].Do(func() error {
		to, err := net.ResolveUDPAddr("udp", group)
		if err != nil {
			return err
		}
		conn, err := net.ListenPacket("udp", from)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.WriteTo([]byte("?"), to); err != nil {
			return err
		}
		if err := conn.SetDeadline(time.Now().Add(unanswered)); err != nil {
			return err
		}
		for buf := make([]byte, 64); ; {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return err
			}
			if strings.HasPrefix(string(buf[:n]), pod+" ") {
				return nil
			}
		}
	})
}

// TestKernelListable: the host's nft tool, where there is one, can print the table.
func TestKernelListable(t *testing.T) {
	w := newWorld(t, network.Filtered, true)
	w.policies("podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [{podSelector: {}}, {ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8:1::/48']}}, {ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}, {port: 1000, endPort: 2000}]}]")
	tool, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("no nft tool")
	}
	for _, family := range []string{"ip", "ip6"} {
		w.eventually("listing", func() error {
			out, err := exec.CommandContext(t.Context(), tool, "list", "table", family, testTable).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			t.Logf("%s", out)
			return nil
		})
	}
}
