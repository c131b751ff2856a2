package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"skiff/config"
	"skiff/config/pki"
	"skiff/kubelet/network"
)

// host is what a server knows of itself before any part runs.
type host struct {
	*config.Config

	ports     ports
	pki       *pki.PKI
	node      string       // name of the node; "" without one
	addresses []netip.Addr // of the node, the primary one first
	advertise netip.Addr   // where the cluster reaches the API
}

func newHost(cfg *config.Config, open ports) (*host, error) {
	h := &host{Config: cfg, ports: open}
	var err error
	if !cfg.NoNode {
		if h.node, err = cfg.Node(); err != nil {
			return nil, err
		}
	}
	if h.addresses, err = h.network(firstRange(cfg.PodRange())).NodeAddresses(); err != nil {
		return nil, err
	}
	h.advertise = h.addresses[0]
	if cfg.AdvertiseAddress != "" {
		h.advertise = netip.MustParseAddr(cfg.AdvertiseAddress)
	}
	if h.pki, err = pki.Load(h.certificates()); err != nil {
		return nil, err
	}
	return h, nil
}

// certificates says what the server's certificates must be good for.
func (h *host) certificates() pki.Config {
	c := pki.Config{Dir: filepath.Join(h.DataDir, "pki"), NodeName: h.node}
	c.Addresses = append(slices.Clone(h.addresses), h.advertise, h.ServiceAddress(1), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	if bind := netip.MustParseAddr(h.BindAddress); !bind.IsUnspecified() {
		c.Addresses = append(c.Addresses, bind)
	}
	c.Names = []string{"kubernetes.default.svc." + h.ClusterDomain}
	for _, san := range h.TLSSANs {
		if a, err := netip.ParseAddr(san); err == nil {
			c.Addresses = append(c.Addresses, a)
			continue
		}
		c.Names = append(c.Names, san)
	}
	slices.SortFunc(c.Addresses, netip.Addr.Compare)
	c.Addresses = slices.Compact(c.Addresses)
	return c
}

// network is the pod network of this host with the given range for its pods.
func (h *host) network(pods netip.Prefix) network.Config {
	c := network.Config{
		Name: h.Instance(), BridgeName: h.Instance(),
		PodCIDRs: []netip.Prefix{pods}, ClusterCIDRs: []netip.Prefix{h.PodRange()}, ServiceCIDRs: []netip.Prefix{h.ServiceRange()},
		CNIConfDir: h.cniConfDir(), IPAMDir: filepath.Join(h.RunDir(), "ipam"),
	}
	c.Mode = network.Mode(h.NodeNetwork)
	if h.NodeIP != "" {
		c.NodeAddress = netip.MustParseAddr(h.NodeIP)
	}
	return c
}

// peers is how this host's node reaches other nodes' pods.
func (h *host) peers() network.PeersConfig {
	c := network.PeersConfig{Node: h.node, ClusterCIDRs: []netip.Prefix{h.PodRange()}, Mode: network.Mode(h.NodeNetwork), LinkName: h.TunnelLink()}
	if len(h.addresses) > 0 {
		c.Address = h.addresses[0]
	}
	return c
}

func (h *host) cniConfDir() string {
	if h.CNI == "none" {
		return "/etc/cni/net.d"
	}
	return filepath.Join(h.RunDir(), "cni")
}

// firstRange is the range that the first node's pods get.
func firstRange(cluster netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(cluster.Addr(), max(cluster.Bits(), 24))
}

// balances reports whether this node gives its addresses to Services.
func (h *host) balances() bool { return h.LoadBalancer && !h.NoNode && !h.APIOnly }

// port is the one the API listens on.
func (h *host) port() int {
	if a, ok := h.ports.api.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return h.Port
}

// url is where programs on this host reach the API.
func (h *host) url() string {
	address := h.BindAddress
	if netip.MustParseAddr(address).IsUnspecified() {
		address = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(address, strconv.Itoa(h.port()))
}

func (h *host) writeKubeconfig() error {
	if h.Kubeconfig != "" {
		if err := h.pki.WriteKubeconfig(h.Kubeconfig, "skiff", h.url()); err != nil {
			return &config.Error{Key: "kubeconfig", Problem: err.Error(), Remedy: "give a path that this user may write"}
		}
	}
	if !h.MergeKubeconfig {
		return nil
	}
	home, err := os.UserHomeDir()
	if err == nil {
		err = h.pki.MergeKubeconfig(filepath.Join(home, ".kube", "config"), "skiff", h.url())
	}
	if err != nil {
		return &config.Error{Key: "merge-kubeconfig", Problem: err.Error(), Remedy: "mend or move ~/.kube/config, or leave the flag out"}
	}
	return nil
}
