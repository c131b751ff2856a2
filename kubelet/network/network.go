package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// repairPeriod is how often to see whether everything is still there.
const repairPeriod = 10 * time.Second

// Network is a node's pod network.
type Network struct {
	config   Config
	bridging Bridging
	mtu      int
}

// New checks the configuration against the host. It changes nothing.
func New(config Config) (*Network, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configuring the pod network: %w", err)
	}
	bridging, err := config.bridging()
	if err != nil {
		return nil, fmt.Errorf("configuring the pod network: %w", err)
	}
	return &Network{config: config, bridging: bridging, mtu: config.mtu()}, nil
}

// Setup makes the network, or what of it is missing. The CNI configuration comes last: from then on the runtime may
// attach pods.
func (n *Network) Setup(context.Context) error {
	if err := n.config.checkOverlap(); err != nil {
		return fmt.Errorf("setting up the pod network: %w", err)
	}
	if err := n.config.removePeerRoutes(); err != nil {
		return fmt.Errorf("setting up the pod network: %w", err)
	}
	bridge, err := n.config.ensureBridge(n.mtu)
	if err != nil {
		return fmt.Errorf("setting up the pod network: %w", err)
	}
	for _, s := range n.config.settings(n.bridging) {
		if err := s.apply(); err != nil {
			return fmt.Errorf("setting up the pod network: %w", err)
		}
	}
	if err := n.config.ensureRoutes(bridge); err != nil {
		return fmt.Errorf("setting up the pod network: %w", err)
	}
	return n.config.writeCNI(n.mtu, n.bridging)
}

// Run keeps the network as Setup made it until ctx ends. It leaves it in place, as pods live on; see Cleanup.
func (n *Network) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx).WithName("network")
	if err := n.Setup(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(repairPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := n.Setup(ctx); err != nil {
				logger.Error(err, "Repairing the pod network")
			}
		}
	}
}

// Cleanup removes everything that a network of this configuration made, and the links of pods in it. It needs no
// running network and is content if there is nothing.
func Cleanup(config Config) error {
	errs := []error{config.removeLinks(), config.removeRoutes()}
	for _, path := range []string{config.confFile(), config.loopbackFile()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing the CNI configuration: %w", err))
		}
	}
	if config.IPAMDir != "" && config.Name != "" {
		if err := os.RemoveAll(filepath.Join(config.IPAMDir, config.Name)); err != nil {
			errs = append(errs, fmt.Errorf("removing the record of pod addresses: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeLinks removes the bridge and what hangs on it.
func (c Config) removeLinks() error {
	bridge, err := c.findBridge()
	if err != nil || bridge == nil {
		return err
	}
	links, err := linkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index && l.Type() == "veth" {
			errs = append(errs, removeLink(l))
		}
	}
	return errors.Join(append(errs, removeLink(bridge))...)
}

func removeLink(l netlink.Link) error {
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("removing link %s: %w", l.Attrs().Name, err)
	}
	return nil
}
