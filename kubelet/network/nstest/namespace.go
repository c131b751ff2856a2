package nstest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with a thread that lives in it.
type Namespace struct {
	Name string
	work chan func()
	done sync.WaitGroup
	fd   int
}

// New makes a namespace that ends with the test.
func New(t testing.TB, name string) *Namespace {
	t.Helper()
	Need(t)
	n := &Namespace{Name: name, work: make(chan func())}
	ready := make(chan error, 1)
	n.done.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		ready <- n.enter()
		for f := range n.work {
			f()
		}
		_ = unix.Close(n.fd)
	})
	if err := <-ready; err != nil {
		t.Fatalf("making namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		close(n.work)
		n.done.Wait()
	})
	return n
}

func (n *Namespace) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	handle, err := netns.Get()
	if err != nil {
		return err
	}
	n.fd = int(handle)
	return loopbackUp()
}

// Do runs f in the namespace. Sockets that it opens stay in the namespace.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	n.work <- func() { result <- f() }
	return <-result
}

// Path is a file that stands for the namespace, for programs that are started in others.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

// Port is how a namespace is attached to a bridge.
type Port struct {
	Bridge   string
	Addr     netip.Prefix
	Gateway  netip.Addr
	Isolated bool // as the CNI plugin's portIsolation
	Hairpin  bool // as the CNI plugin's hairpinMode
}

// Attach connects the namespace to a bridge of the node, as CNI's bridge plugin does a pod.
func (n *Namespace) Attach(t testing.TB, p Port) {
	t.Helper()
	bridge, err := netlink.LinkByName(p.Bridge)
	if err != nil {
		t.Fatalf("finding bridge %s: %v", p.Bridge, err)
	}
	host := n.veth(t)
	steps := []error{
		netlink.LinkSetMaster(host, bridge),
		netlink.LinkSetIsolated(host, p.Isolated),
		netlink.LinkSetHairpin(host, p.Hairpin),
		netlink.LinkSetUp(host),
		n.configure(p.Addr, p.Gateway),
	}
	for _, err := range steps {
		if err != nil {
			t.Fatalf("attaching %s to %s: %v", n.Name, p.Bridge, err)
		}
	}
}

// Join connects the namespace with the node by a link of its own; the node takes the gateway's address on it.
func (n *Namespace) Join(t testing.TB, addr netip.Prefix, gateway netip.Addr) {
	t.Helper()
	host := n.veth(t)
	at := netip.PrefixFrom(gateway, addr.Bits())
	steps := []error{netlink.AddrAdd(host, address(at)), netlink.LinkSetUp(host), n.configure(addr, gateway)}
	for _, err := range steps {
		if err != nil {
			t.Fatalf("joining %s: %v", n.Name, err)
		}
	}
}

// veth makes the link; its end in the namespace is eth0.
func (n *Namespace) veth(t testing.TB) netlink.Link {
	t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(n.fd)}
	pair.Name = fmt.Sprintf("v%d-%s", n.fd, n.Name)
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatalf("linking %s: %v", n.Name, err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	return pair
}

func (n *Namespace) configure(addr netip.Prefix, gateway netip.Addr) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, address(addr)); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IP(gateway.AsSlice())})
	})
}

func address(p netip.Prefix) *netlink.Addr {
	flags := 0
	if p.Addr().Is6() {
		flags = unix.IFA_F_NODAD
	}
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: flags}
}
