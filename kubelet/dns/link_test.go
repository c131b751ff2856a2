package dns

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"skiff/kubelet/network/nstest"
)

// TestLinkWhileAddressesChange: the kernel says that a list may be incomplete when something changed meanwhile, which is
// no failure: it is listed again.
func TestLinkWhileAddressesChange(t *testing.T) {
	defer nstest.Churn(t, "dnsflap", func(link netlink.Link, i int) {
		_ = netlink.AddrReplace(link, &netlink.Addr{IPNet: netlink.NewIPNet([]byte{198, 51, 100, byte(i)})})
	})()
	const full, name = "dnsfull", "dnssteady"
	defer func() { _ = errors.Join(Cleanup(full), Cleanup(name)) }()
	var many []netip.Addr // so that a list takes the kernel more than one message
	for i := range 1500 {
		many = append(many, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	if err := errors.Join(ensureLink(full, nil), fill(full, many)); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if err := ensureLink(name, []netip.Addr{netip.MustParseAddr("203.0.113.1")}); err != nil {
			t.Fatal(err)
		}
	}
}

func fill(name string, addrs []netip.Addr) error {
	link, err := netlink.LinkByName(name)
	for _, a := range addrs {
		err = errors.Join(err, netlink.AddrReplace(link, &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}))
	}
	return err
}
