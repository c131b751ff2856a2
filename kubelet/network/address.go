package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// NodeAddresses finds the node's address in each family of its pod ranges: the configured one, else the one of the link
// with the default route, else the first global unicast address of any link, else the gateway's. The last always
// exists, so a node works on a host that has nothing but a loopback link.
func (c Config) NodeAddresses() ([]netip.Addr, error) {
	var out []netip.Addr
	for _, p := range c.PodCIDRs {
		addr, err := c.nodeAddress(p)
		if err != nil {
			return nil, err
		}
		out = append(out, addr)
	}
	return out, nil
}

func (c Config) nodeAddress(podCIDR netip.Prefix) (netip.Addr, error) {
	if c.NodeAddress.IsValid() && c.NodeAddress.Is4() == podCIDR.Addr().Is4() {
		return c.NodeAddress, nil
	}
	family := netlink.FAMILY_V6
	if podCIDR.Addr().Is4() {
		family = netlink.FAMILY_V4
	}
	link, src, err := defaultLink(family)
	if err != nil {
		return netip.Addr{}, err
	}
	if src.IsValid() && c.usable(src) {
		return src, nil
	}
	for _, l := range []netlink.Link{link, nil} {
		addrs, err := c.addresses(l, family)
		if err != nil {
			return netip.Addr{}, err
		}
		if len(addrs) > 0 {
			return addrs[0], nil
		}
	}
	return Gateway(podCIDR), nil
}

// addresses lists a link's usable addresses, or all links' (nil), in the kernel's order. Links that are down count
// last: their addresses may never be reached.
func (c Config) addresses(link netlink.Link, family int) ([]netip.Addr, error) {
	all, err := addrList(link, family)
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	var up, down []netip.Addr
	for _, a := range all {
		at, ok := prefixOf(a.IPNet)
		if !ok || !c.usable(at.Addr()) {
			continue
		}
		if l, err := netlink.LinkByIndex(a.LinkIndex); err == nil && l.Attrs().Flags&net.FlagUp == 0 {
			down = append(down, at.Addr())
			continue
		}
		up = append(up, at.Addr())
	}
	return append(up, down...), nil
}

// usable reports whether others can know the node by the address: not loopback, not link-local, not of the cluster.
func (c Config) usable(a netip.Addr) bool {
	inside := func(p netip.Prefix) bool { return p.Contains(a) }
	return a.IsGlobalUnicast() && !slices.ContainsFunc(slices.Concat(c.PodCIDRs, c.ClusterCIDRs, c.ServiceCIDRs), inside)
}

// defaultLink is the link of the default route with the lowest metric, and the source address that the route prefers,
// if it does; nil if there is no default route.
func defaultLink(family int) (netlink.Link, netip.Addr, error) {
	routes, err := routeList(family)
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("listing routes: %w", err)
	}
	var best *netlink.Route
	for i := range routes {
		dst, ok := prefixOf(routes[i].Dst)
		isDefault := routes[i].LinkIndex != 0 && (!ok || dst.Bits() == 0)
		if isDefault && (best == nil || routes[i].Priority < best.Priority) {
			best = &routes[i]
		}
	}
	if best == nil {
		return nil, netip.Addr{}, nil
	}
	link, err := netlink.LinkByIndex(best.LinkIndex)
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("looking up the link of the default route: %w", err)
	}
	src, _ := netip.AddrFromSlice(best.Src)
	return link, src.Unmap(), nil
}
