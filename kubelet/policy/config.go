package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/informers"

	"skiff/kubelet/nft"
)

// Config says whose policies are enforced and where.
type Config struct {
	// Table is the name of the nftables tables; nothing else on the host may use it.
	Table string
	// NodeName is this node's name.
	NodeName string
	// ClusterCIDRs are the ranges of pod addresses of the whole cluster. Their families are those of the tables.
	ClusterCIDRs []netip.Prefix
	// Link is the bridge that pods hang on; "" if they don't. Pods on a bridge could reach one another by their link-local
	// IPv6 addresses, which no policy is about: it carries nothing from these.
	Link string
	// RepairPeriod is how often to see whether somebody changed the tables; 500 ms if 0.
	RepairPeriod time.Duration
}

// Deps is what enforcement needs from its surroundings.
type Deps struct {
	Informers informers.SharedInformerFactory
	// Metrics takes the metrics; nil if nobody asks for them.
	Metrics Metrics
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
	if len(c.ClusterCIDRs) == 0 {
		errs = append(errs, errors.New("there is no pod CIDR"))
	}
	return errors.Join(errs...)
}

// families lists the address families of the pod CIDRs, and IPv6 where the host and so the bridge have it.
func (c Config) families() []nft.Family {
	out := nft.FamiliesOf(c.ClusterCIDRs)
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil && c.Link != "" && !slices.Contains(out, nft.IPv6) {
		out = append(out, nft.IPv6)
	}
	return out
}
