package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// routeProtocol marks the routes made here, for whoever lists them; it means nothing to the kernel.
	routeProtocol = 0x5c
	// lastResort is the metric of the unreachable routes: any other route for the same range comes first.
	lastResort = 1 << 30
)

// Route is a route of the plan.
type Route struct {
	Dst         netip.Prefix
	Src         netip.Addr // preferred source; invalid if none
	Unreachable bool       // refuse the packets; else they go to the bridge
}

// Routes plans what keeps cluster traffic on the host; see the package comment.
func (c Config) Routes() []Route {
	var out []Route
	for _, s := range c.ServiceCIDRs {
		out = append(out, Route{Dst: s.Masked(), Unreachable: true})
		for _, p := range c.PodCIDRs {
			if p.Addr().Is4() == s.Addr().Is4() {
				out = append(out, Route{Dst: s.Masked(), Src: Gateway(p)})
			}
		}
	}
	for _, p := range c.ClusterCIDRs {
		out = append(out, Route{Dst: p.Masked(), Unreachable: true})
	}
	return out
}

func (r Route) netlink(bridge int) *netlink.Route {
	route := &netlink.Route{Dst: ipNet(r.Dst), Protocol: routeProtocol}
	if r.Unreachable {
		route.Type, route.Priority = unix.RTN_UNREACHABLE, lastResort
		return route
	}
	route.LinkIndex, route.Scope, route.Src = bridge, netlink.SCOPE_LINK, r.Src.AsSlice()
	if r.Dst.Addr().Is6() {
		route.Scope = netlink.SCOPE_UNIVERSE // IPv6 routes have no scope
	}
	return route
}

func (c Config) ensureRoutes(bridge netlink.Link) error {
	for _, r := range c.Routes() {
		if err := netlink.RouteReplace(r.netlink(bridge.Attrs().Index)); err != nil {
			return fmt.Errorf("adding the route for %s: %w", r.Dst, err)
		}
	}
	return nil
}

// removeRoutes removes the unreachable routes; the others go with the bridge.
func (c Config) removeRoutes() error {
	var errs []error
	for _, r := range c.Routes() {
		if !r.Unreachable {
			continue
		}
		err := netlink.RouteDel(r.netlink(0))
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("removing the route for %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

// checkOverlap refuses ranges that the host uses for something else: a route of another link that lies within the
// node's pod ranges or the Service ranges would take traffic away from the cluster, or the cluster from it.
func (c Config) checkOverlap() error {
	links, err := linkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	routes, err := routeList(netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		dst, ok := prefixOf(r.Dst)
		name := names[r.LinkIndex]
		// Routes made here to other nodes' pods follow the nodes.
		if !ok || name == "" || name == "lo" || name == c.BridgeName || r.Protocol == routeProtocol {
			continue
		}
		for _, mine := range slices.Concat(c.PodCIDRs, c.ServiceCIDRs) {
			if dst.Bits() >= mine.Bits() && mine.Overlaps(dst) {
				errs = append(errs, fmt.Errorf("%s is in use: the host routes %s to %s; choose another range", mine, dst, name))
			}
		}
	}
	return errors.Join(errs...)
}
