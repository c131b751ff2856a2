package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"k8s.io/client-go/informers"

	"skiff/kubelet/nft"
)

// Config says what the proxy serves and where.
type Config struct {
	// Table is the name of the nftables tables; nothing else on the host may use it.
	Table string
	// NodeName is this node's name.
	NodeName string
	// NodeIPs are the addresses on which node ports listen. Loopback addresses are none of them.
	NodeIPs []netip.Addr
	// ServiceCIDRs are the ranges of Service addresses. Their families are the families that the proxy serves.
	ServiceCIDRs []netip.Prefix
	// ClusterCIDRs are the ranges of pod addresses of the whole cluster.
	ClusterCIDRs []netip.Prefix
	// DNSAddresses are Service addresses that this node answers itself; the proxy leaves them alone.
	DNSAddresses []netip.Addr
	// RepairPeriod is how often to see whether somebody changed the tables; 500 ms if 0.
	RepairPeriod time.Duration
}

// Deps is what the proxy needs from its surroundings.
type Deps struct {
	Informers informers.SharedInformerFactory
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if !nft.ValidName(c.Table) {
		errs = append(errs, fmt.Errorf("%q is no name for an nftables table", c.Table))
	}
	if c.NodeName == "" {
		errs = append(errs, errors.New("the node has no name"))
	}
	if len(c.ServiceCIDRs) == 0 {
		errs = append(errs, errors.New("there is no Service CIDR"))
	}
	for _, s := range c.ServiceCIDRs {
		for _, p := range c.ClusterCIDRs {
			if s.Overlaps(p) {
				errs = append(errs, fmt.Errorf("the Service CIDR %s overlaps the pod CIDR %s", s, p))
			}
		}
	}
	return errors.Join(errs...)
}

// families lists the address families of the Service CIDRs.
func (c Config) families() []nft.Family { return nft.FamiliesOf(c.ServiceCIDRs) }

// fixed is the table's content that comes from the configuration.
func (c Config) fixed() fixed {
	out := fixed{prefixes: map[nft.SetName][]netip.Prefix{
		ClusterCIDRs:  c.ClusterCIDRs,
		ServiceCIDRs:  c.ServiceCIDRs,
		LoopbackCIDRs: {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}}
	add := func(name nft.SetName, addrs []netip.Addr) {
		for _, f := range c.families() {
			for _, a := range addrs {
				if f.Of(a) && !a.IsLoopback() {
					out.elements = append(out.elements, Element{ID: ElementID{Family: f, Map: name, Key: string(nft.Key(nil).Addr(a))}})
				}
			}
		}
	}
	add(Bypass, c.DNSAddresses)
	add(NodeAddrs, c.NodeIPs)
	return out
}
