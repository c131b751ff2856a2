package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skiff/kubelet/internal/dump"
)

// apply brings routes, and with VXLAN the link and its neighbours, to the plan. problems says by node what keeps its pods
// from being reached.
func (c PeersConfig) apply(plan PeerPlan) (problems map[string]string, err error) {
	routes, problems := []netlink.Route(nil), map[string]string{}
	switch c.Mode {
	case HostGateway:
		routes, problems = c.gateways(plan)
		err = c.removeVXLAN()
	case VXLAN:
		routes, err = c.tunnels(plan)
	}
	if err != nil {
		return nil, err
	}
	errs := []error{c.removeStale(routes)}
	for i := range routes {
		if err := netlink.RouteReplace(&routes[i]); err != nil {
			errs = append(errs, fmt.Errorf("adding the route %s: %w", routes[i], err))
		}
	}
	return problems, errors.Join(errs...)
}

// gateways are the routes by way of the nodes themselves, for those that are neighbours.
func (c PeersConfig) gateways(plan PeerPlan) (routes []netlink.Route, problems map[string]string) {
	problems = map[string]string{}
	for _, peer := range plan.Peers {
		link, err := neighbour(peer.Address)
		if err != nil {
			problems[peer.Node] = err.Error()
			continue
		}
		for _, r := range peer.PodCIDRs {
			routes = append(routes, netlink.Route{Dst: ipNet(r), Gw: peer.Address.AsSlice(), LinkIndex: link, Protocol: routeProtocol})
		}
	}
	return routes, problems
}

// neighbour answers the link on whose subnet the address is.
func neighbour(a netip.Addr) (link int, err error) {
	found, err := netlink.RouteGet(a.AsSlice())
	if err != nil {
		return 0, fmt.Errorf("its address %s can't be reached: %w", a, err)
	}
	if len(found) == 0 || found[0].Gw != nil || found[0].Via != nil {
		return 0, fmt.Errorf("its address %s is not on a subnet of this host, as --node-network=%s needs: start the server with --node-network=%s", a, HostGateway, VXLAN)
	}
	if found[0].Type == unix.RTN_LOCAL {
		return 0, fmt.Errorf("its address %s is this host's own: give each node one with --node-ip", a)
	}
	return found[0].LinkIndex, nil
}

// removeStale removes the routes made here that are not wanted any more.
func (c PeersConfig) removeStale(wanted []netlink.Route) error {
	have, err := peerRoutes(c.ClusterCIDRs)
	if err != nil {
		return err
	}
	var errs []error
	for i := range have {
		// The kernel replaces a route for the same range in place, so that no packet finds none.
		again := func(r netlink.Route) bool { return r.Dst.String() == have[i].Dst.String() }
		if slices.ContainsFunc(wanted, again) {
			continue
		}
		errs = append(errs, removeRoute(&have[i]))
	}
	return errors.Join(errs...)
}

func removeRoute(r *netlink.Route) error {
	if err := netlink.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the route %s: %w", r, err)
	}
	return nil
}

// peerRoutes are the routes to other nodes' pods that were made here, for ranges within those given.
func peerRoutes(within []netip.Prefix) ([]netlink.Route, error) {
	all, err := dump.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return slices.DeleteFunc(all, func(r netlink.Route) bool {
		dst, ok := prefixOf(r.Dst)
		return !ok || r.Gw == nil || !overlaps(dst, within)
	}), nil
}

// removePeerRoutes removes routes to other nodes' pods whose range is now this node's own.
func (c Config) removePeerRoutes() error {
	routes, err := peerRoutes(c.PodCIDRs)
	if err != nil {
		return err
	}
	var errs []error
	for i := range routes {
		errs = append(errs, removeRoute(&routes[i]))
	}
	return errors.Join(errs...)
}

// CleanupPeers removes the routes to other nodes' pods and the link. It is content if there is nothing.
func CleanupPeers(c PeersConfig) error {
	return errors.Join(c.removeStale(nil), c.removeVXLAN())
}

// linkByName answers nil if there is none.
func linkByName(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up link %s: %w", name, err)
	}
	return link, nil
}

// linkOf answers the link that has the address.
func linkOf(a netip.Addr) (netlink.Link, error) {
	all, err := addrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	for _, have := range all {
		if at, ok := prefixOf(have.IPNet); ok && at.Addr() == a {
			return netlink.LinkByIndex(have.LinkIndex)
		}
	}
	return nil, fmt.Errorf("this host does not have the node's address %s", a)
}
