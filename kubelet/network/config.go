package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Bridging is how packets between the node's pods are made to meet the packet filter; see the package comment.
type Bridging string

// The ways of bridging.
const (
	Auto     Bridging = ""         // Filtered where the kernel can, else Routed
	Filtered Bridging = "filtered" // br_netfilter
	Routed   Bridging = "routed"   // isolated ports
)

// Config describes the node's pod network. Everything made on the host carries a name from here.
type Config struct {
	// Name is the CNI network's name; the configuration file and the address store are named after it.
	Name string
	// BridgeName is the link that pods hang on.
	BridgeName string
	// PodCIDRs are the node's own pod ranges, at most one of each family.
	PodCIDRs []netip.Prefix
	// ClusterCIDRs are the pod ranges of the whole cluster.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs are the ranges of Service addresses.
	ServiceCIDRs []netip.Prefix
	// MTU of the pods' links; 0 takes that of the link with the default route, or 1500.
	MTU int
	// CNIConfDir is where the runtime looks for its network configuration.
	CNIConfDir string
	// IPAMDir is where the host-local plugin records which addresses are taken.
	IPAMDir string
	// NodeAddress is the node's address if the configuration fixes it.
	NodeAddress netip.Addr
	// Mode is how packets travel to other nodes, for the room that it takes of each; "" takes none.
	Mode Mode
	// Bridging is how packets between pods meet the packet filter.
	Bridging Bridging
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Name == "" || strings.ContainsAny(c.Name, "/ "), "%q is no name for a CNI network", c.Name)
	check(c.BridgeName == "" || len(c.BridgeName) >= unix.IFNAMSIZ || strings.ContainsAny(c.BridgeName, "/ :"),
		"%q is no name for a link: at most %d characters", c.BridgeName, unix.IFNAMSIZ-1)
	check(len(c.PodCIDRs) == 0, "the node has no pod CIDR")
	check(c.MTU < 0 || c.MTU > 65535, "MTU %d is out of range", c.MTU)
	seen := map[bool]bool{}
	for _, p := range c.PodCIDRs {
		check(seen[p.Addr().Is4()], "pod CIDR %s: there is another one of its family", p)
		seen[p.Addr().Is4()] = true
		check(p.Addr().BitLen()-p.Bits() < 2, "pod CIDR %s has no room for pods", p)
		for _, s := range c.ServiceCIDRs {
			check(s.Overlaps(p), "pod CIDR %s overlaps Service CIDR %s", p, s)
		}
	}
	for _, p := range c.ClusterCIDRs {
		for _, s := range c.ServiceCIDRs {
			check(s.Overlaps(p), "cluster CIDR %s overlaps Service CIDR %s", p, s)
		}
	}
	return errors.Join(errs...)
}

// Gateway is the node's own address in a pod range: the first one.
func Gateway(podCIDR netip.Prefix) netip.Addr { return podCIDR.Masked().Addr().Next() }
