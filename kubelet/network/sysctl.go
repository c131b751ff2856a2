package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctlRoot is where the kernel's settings are files.
const sysctlRoot = "/proc/sys"

// setting is one kernel setting, by its path below /proc/sys.
type setting struct {
	path  string
	value string
	why   string
}

// settings lists what the pod network needs of the kernel.
func (c Config) settings(bridging Bridging) []setting {
	var out []setting
	for _, p := range c.PodCIDRs {
		if p.Addr().Is4() {
			out = append(out, c.settings4(bridging)...)
		} else {
			out = append(out, c.settings6(bridging)...)
		}
	}
	return out
}

func (c Config) settings4(bridging Bridging) []setting {
	link := "net/ipv4/conf/" + c.BridgeName
	out := []setting{
		{"net/ipv4/ip_forward", "1", "the node must forward its pods' packets"},
		{link + "/rp_filter", "1", "pods must not use addresses that aren't the pod network's"},
		{link + "/send_redirects", "0", "pods must not be told ways around the node"},
	}
	if bridging == Routed {
		out = append(out, setting{link + "/proxy_arp_pvlan", "1", "the bridge must answer for isolated pods"})
		if bridgeNetfilter() { // routed by choice: br_netfilter would hand translated packets straight to an isolated port
			out = append(out, setting{"net/bridge/bridge-nf-call-iptables", "0", "bridged packets must be routed first"})
		}
		return out
	}
	return append(out, setting{"net/bridge/bridge-nf-call-iptables", "1", "bridged packets must meet the packet filter"},
		setting{"net/bridge/bridge-nf-call-ip6tables", "1", "pods have link-local IPv6 addresses: those packets must meet it too"})
}

func (c Config) settings6(bridging Bridging) []setting {
	out := []setting{
		{"net/ipv6/conf/all/forwarding", "1", "the node must forward its pods' packets"},
		{"net/ipv6/conf/" + c.BridgeName + "/accept_ra", "0", "pods must not act as the node's router"},
		{"net/ipv6/conf/" + c.BridgeName + "/accept_dad", "0", "the gateway's address must be usable at once"},
	}
	if bridging == Filtered {
		out = append(out, setting{"net/bridge/bridge-nf-call-ip6tables", "1", "bridged packets must meet the packet filter"})
	}
	return out
}

// apply writes the setting unless it has the value already.
func (s setting) apply() error {
	path := filepath.Join(sysctlRoot, s.path)
	name := strings.ReplaceAll(s.path, "/", ".")
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the kernel has no setting %s (%s): %w", name, s.why, err)
	}
	if err == nil && strings.TrimSpace(string(old)) == s.value {
		return nil
	}
	if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
		return fmt.Errorf("setting %s to %s (%s); it is %q, try 'sysctl -w %s=%s' as root: %w",
			name, s.value, s.why, strings.TrimSpace(string(old)), name, s.value, err)
	}
	return nil
}

// bridgeNetfilter reports whether the kernel has br_netfilter (loaded).
func bridgeNetfilter() bool {
	_, err := os.Stat(filepath.Join(sysctlRoot, "net/bridge/bridge-nf-call-iptables"))
	return err == nil
}

// bridging decides how packets between pods meet the packet filter.
func (c Config) bridging() (Bridging, error) {
	present := bridgeNetfilter()
	switch {
	case c.Bridging == Filtered && !present:
		return "", errors.New("the kernel has no br_netfilter: load the module, or choose routed bridging")
	case c.Bridging != Auto:
		return c.Bridging, nil
	case present:
		return Filtered, nil
	}
	for _, p := range c.PodCIDRs {
		if p.Addr().Is6() {
			return "", fmt.Errorf("the pod CIDR %s needs the kernel's br_netfilter: load the module (modprobe br_netfilter)", p)
		}
	}
	return Routed, nil
}
