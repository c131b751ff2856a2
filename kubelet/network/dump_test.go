package network

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"

	"skiff/kubelet/network/nstest"
)

// TestListingWhileLinksChange: the kernel says that a list may be incomplete when something changed meanwhile, which is
// no failure: it is listed again.
func TestListingWhileLinksChange(t *testing.T) {
	defer nstest.Churn(t, "flap", nil)()
	for i := range 64 {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = fmt.Sprintf("steady%d", i)
		link := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = netlink.LinkDel(link) }()
	}
	c := testConfig(t)
	for range 300 {
		_, found := c.NodeAddresses()
		if err := errors.Join(c.checkOverlap(), c.removeLinks(), c.removePeerRoutes(), found); err != nil {
			t.Error(err)
			break
		}
	}
}
