package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultMTU is Ethernet's.
const defaultMTU = 1500

// ensureBridge makes the bridge, with the gateway's addresses, or brings an existing one into shape.
func (c Config) ensureBridge(mtu int) (netlink.Link, error) {
	link, err := c.findBridge()
	if err != nil {
		return nil, err
	}
	if link == nil {
		if link, err = c.addBridge(mtu); err != nil {
			return nil, err
		}
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return nil, fmt.Errorf("setting the MTU of bridge %s to %d: %w", c.BridgeName, mtu, err)
	}
	if err := c.ensureAddresses(link); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bringing bridge %s up: %w", c.BridgeName, err)
	}
	return link, nil
}

// findBridge answers nil if there is no such link.
func (c Config) findBridge() (netlink.Link, error) {
	link, err := netlink.LinkByName(c.BridgeName)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up bridge %s: %w", c.BridgeName, err)
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("there is a link %s already, of type %s: choose another bridge name", c.BridgeName, link.Type())
	}
	return link, nil
}

func (c Config) addBridge(mtu int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = c.BridgeName, mtu
	// A bridge without an address of its own takes its ports', and changes when they do: pods would lose their gateway.
	attrs.HardwareAddr = make(net.HardwareAddr, 6)
	_, _ = rand.Read(attrs.HardwareAddr) // never fails
	attrs.HardwareAddr[0] = attrs.HardwareAddr[0]&^1 | 2
	err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("making bridge %s: %w", c.BridgeName, err)
	}
	return netlink.LinkByName(c.BridgeName)
}

// ensureAddresses gives the bridge the gateway addresses and takes those of earlier pod ranges.
func (c Config) ensureAddresses(link netlink.Link) error {
	have, err := addrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing the addresses of %s: %w", c.BridgeName, err)
	}
	var wanted, present []netip.Prefix
	for _, p := range c.PodCIDRs {
		wanted = append(wanted, netip.PrefixFrom(Gateway(p), p.Bits()))
	}
	for i := range have {
		at, ok := prefixOf(have[i].IPNet)
		if !ok || at.Addr().IsLinkLocalUnicast() {
			continue
		}
		present = append(present, at)
		if slices.Contains(wanted, at) {
			continue
		}
		if err := netlink.AddrDel(link, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("removing address %s from %s: %w", at, c.BridgeName, err)
		}
	}
	for _, w := range wanted {
		if slices.Contains(present, w) {
			continue
		}
		addr := &netlink.Addr{IPNet: ipNet(w)}
		if w.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("giving %s the address %s: %w", c.BridgeName, w, err)
		}
	}
	return nil
}

// mtu is the configured MTU, or that of the link with the default route.
func (c Config) mtu() int {
	if c.MTU != 0 {
		return c.MTU
	}
	overhead := 0
	if c.Mode == VXLAN {
		overhead = vxlanOverhead
	}
	if link, _, err := defaultLink(netlink.FAMILY_ALL); err == nil && link != nil {
		return link.Attrs().MTU - overhead
	}
	return defaultMTU - overhead
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf converts; the kernel's nil destination (the default route) is no prefix.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if addr = addr.Unmap(); !ok || addr.BitLen() != size {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits), true
}
