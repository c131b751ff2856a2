package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// hostAddresses answers the address of the interface with the default route or, on a host without one, the first
// address of any interface that others can reach.
func hostAddresses() ([]netip.Addr, error) {
	if chosen, err := utilnet.ChooseHostInterface(); err == nil {
		if ip, ok := netip.AddrFromSlice(chosen); ok {
			return []netip.Addr{ip.Unmap()}, nil
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, link := range links {
		if link.Flags&net.FlagUp == 0 || link.Flags&net.FlagLoopback != 0 {
			continue
		}
		if ip, ok := reachable(link); ok {
			return []netip.Addr{ip}, nil
		}
	}
	return nil, errors.New("no interface has an address that other hosts could reach; name one with the node IP setting")
}

func reachable(link net.Interface) (netip.Addr, bool) {
	found, err := link.Addrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, address := range found {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr().Unmap(), true
		}
	}
	return netip.Addr{}, false
}
