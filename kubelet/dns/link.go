package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skiff/kubelet/internal/dump"
)

// linkType is the kind of link that holds the addresses: a bridge that never gets a port. Any kernel that can run pods
// has bridges; not every one has dummy links.
const linkType = "bridge"

// ensureLink makes the link with exactly the given addresses.
func ensureLink(name string, addrs []netip.Addr) error {
	link, err := findLink(name)
	if err != nil {
		return err
	}
	if link == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("making link %s: %w", name, err)
		}
		if link, err = netlink.LinkByName(name); err != nil {
			return fmt.Errorf("looking up link %s: %w", name, err)
		}
	}
	if err := setAddresses(link, addrs); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing link %s up: %w", name, err)
	}
	return nil
}

func setAddresses(link netlink.Link, addrs []netip.Addr) error {
	name := link.Attrs().Name
	have, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("listing the addresses of %s: %w", name, err)
	}
	for i := range have {
		at, _ := netip.AddrFromSlice(have[i].IP)
		if at = at.Unmap(); at.IsLinkLocalUnicast() || slices.Contains(addrs, at) {
			continue
		}
		if err := netlink.AddrDel(link, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("removing address %s from %s: %w", at, name, err)
		}
	}
	for _, a := range addrs {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
		if a.Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("giving %s the address %s: %w", name, a, err)
		}
	}
	return nil
}

// findLink answers nil if there is no such link.
func findLink(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up link %s: %w", name, err)
	}
	if link.Type() != linkType {
		return nil, fmt.Errorf("there is a link %s already, of type %s: choose another name", name, link.Type())
	}
	return link, nil
}

// Cleanup removes the link. It needs no running server and is content if there is none.
func Cleanup(name string) error {
	link, err := findLink(name)
	if err != nil || link == nil {
		return err
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing link %s: %w", name, err)
	}
	return nil
}
