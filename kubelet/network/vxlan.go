package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skiff/kubelet/internal/dump"
)

const (
	// vxlanPort is the kernel's and flannel's port, not IANA's 4789, which some clouds keep for themselves.
	vxlanPort = 8472
	// vxlanOverhead is what a packet grows by: outer IPv4, UDP and VXLAN headers and the inner Ethernet header.
	vxlanOverhead = 50
)

// vni is the network's number: the first three bytes of the cluster's range, so that clusters on the same hosts, whose
// ranges differ, don't meet, and all nodes agree without a word.
func (c PeersConfig) vni() int {
	first := c.ClusterCIDRs[0].Masked().Addr().AsSlice()
	return max(1, int(first[0])<<16|int(first[1])<<8|int(first[2]))
}

// vtepMAC is the hardware address of the tunnel's end at the node with a pod range. It follows from the range, so that
// nodes need not tell each other.
func vtepMAC(pods netip.Prefix) net.HardwareAddr {
	sum := sha256.Sum256([]byte("skiff vtep " + pods.Masked().String()))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}

// tunnels makes the link and its neighbours, and answers the routes through it. As flannel does, each peer has one
// permanent neighbour entry (which end of the tunnel) and one forwarding entry (at which node), and nothing is learned or
// flooded.
func (c PeersConfig) tunnels(plan PeerPlan) ([]netlink.Route, error) {
	if len(plan.Own) == 0 {
		return nil, nil // the node has no range yet: it will be told
	}
	link, err := c.ensureVXLAN(plan.Own[0])
	if err != nil {
		return nil, err
	}
	var routes []netlink.Route
	var wanted []netlink.Neigh
	index := link.Attrs().Index
	for _, peer := range plan.Peers {
		for _, r := range peer.PodCIDRs {
			mac, gateway := vtepMAC(r), Gateway(r)
			wanted = append(wanted,
				netlink.Neigh{LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF, IP: peer.Address.AsSlice(), HardwareAddr: mac},
				netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: gateway.AsSlice(), HardwareAddr: mac})
			routes = append(routes, netlink.Route{
				Dst: ipNet(r), Gw: gateway.AsSlice(), LinkIndex: index, Src: Gateway(plan.Own[0]).AsSlice(), Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol,
			})
		}
	}
	return c.usable(routes), ensureNeighbours(index, wanted)
}

// usable leaves the preferred source out while the host does not have it: the bridge, which carries it, may come later.
func (c PeersConfig) usable(routes []netlink.Route) []netlink.Route {
	for i := range routes {
		src, _ := netip.AddrFromSlice(routes[i].Src)
		if _, err := linkOf(src.Unmap()); err != nil {
			routes[i].Src = nil
		}
	}
	return routes
}

// ensureVXLAN makes the link, or brings an existing one into shape.
func (c PeersConfig) ensureVXLAN(own netip.Prefix) (netlink.Link, error) {
	under, err := linkOf(c.Address)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = c.LinkName, vtepMAC(own)
	attrs.MTU = under.Attrs().MTU - vxlanOverhead
	wanted := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: c.vni(), VtepDevIndex: under.Attrs().Index, SrcAddr: c.Address.AsSlice(), Port: vxlanPort, Learning: false}
	link, err := linkByName(c.LinkName)
	if err != nil {
		return nil, err
	}
	if link != nil && !sameVXLAN(link, wanted) {
		if err := removeLink(link); err != nil {
			return nil, err
		}
		link = nil
	}
	if link == nil {
		if err := netlink.LinkAdd(wanted); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("making the VXLAN link %s (the kernel needs its module vxlan): %w", c.LinkName, err)
		}
		if link, err = netlink.LinkByName(c.LinkName); err != nil {
			return nil, fmt.Errorf("looking up link %s: %w", c.LinkName, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bringing link %s up: %w", c.LinkName, err)
	}
	return link, nil
}

func sameVXLAN(have netlink.Link, wanted *netlink.Vxlan) bool {
	v, ok := have.(*netlink.Vxlan)
	return ok && v.VxlanId == wanted.VxlanId && v.VtepDevIndex == wanted.VtepDevIndex && v.Port == wanted.Port && v.MTU == wanted.MTU &&
		v.SrcAddr.Equal(wanted.SrcAddr) && v.HardwareAddr.String() == wanted.HardwareAddr.String()
}

// ensureNeighbours sets the link's neighbour and forwarding entries, and removes others.
func ensureNeighbours(link int, wanted []netlink.Neigh) error {
	var errs []error
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET} {
		have, err := dump.Whole(func() ([]netlink.Neigh, error) { return netlink.NeighList(link, family) })
		if err != nil {
			return fmt.Errorf("listing neighbours: %w", err)
		}
		for i := range have {
			stays := func(w netlink.Neigh) bool {
				return w.Family == family && w.IP.Equal(have[i].IP) && w.HardwareAddr.String() == have[i].HardwareAddr.String()
			}
			if have[i].State&netlink.NUD_PERMANENT == 0 || slices.ContainsFunc(wanted, stays) {
				continue
			}
			have[i].Family = family
			if family == unix.AF_BRIDGE {
				have[i].Flags |= netlink.NTF_SELF
			}
			if err := netlink.NeighDel(&have[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("removing the neighbour %s: %w", have[i].String(), err))
			}
		}
	}
	for i := range wanted {
		if err := netlink.NeighSet(&wanted[i]); err != nil {
			errs = append(errs, fmt.Errorf("adding the neighbour %s: %w", wanted[i].String(), err))
		}
	}
	return errors.Join(errs...)
}

// removeVXLAN removes the link, and its routes with it.
func (c PeersConfig) removeVXLAN() error {
	if c.LinkName == "" {
		return nil
	}
	link, err := linkByName(c.LinkName)
	if err != nil || link == nil || link.Type() != "vxlan" {
		return err
	}
	return removeLink(link)
}
