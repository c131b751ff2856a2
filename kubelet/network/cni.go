package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// The configuration that CNI's plugins read: https://www.cni.dev/docs/spec/ and the plugins' own documentation.
type (
	cniList struct {
		CNIVersion string      `json:"cniVersion"`
		Name       string      `json:"name"`
		Plugins    []cniBridge `json:"plugins"`
	}
	cniBridge struct {
		Type          string  `json:"type"`
		Bridge        string  `json:"bridge"`
		IsGateway     bool    `json:"isGateway"`
		IPMasq        bool    `json:"ipMasq"`
		HairpinMode   bool    `json:"hairpinMode"`
		PortIsolation bool    `json:"portIsolation,omitempty"`
		MTU           int     `json:"mtu"`
		IPAM          cniIPAM `json:"ipam"`
	}
	cniIPAM struct {
		Type    string       `json:"type"`
		DataDir string       `json:"dataDir,omitempty"`
		Ranges  [][]cniRange `json:"ranges"`
		Routes  []cniRoute   `json:"routes"`
	}
	cniRange struct {
		Subnet  string `json:"subnet"`
		Gateway string `json:"gateway"`
	}
	cniRoute struct {
		Dst string `json:"dst"`
	}
	cniSingle struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
		Type       string `json:"type"`
	}
)

const cniVersion = "1.0.0"

// CNI renders the network's configuration list.
func (c Config) CNI(mtu int, bridging Bridging) ([]byte, error) {
	ipam := cniIPAM{Type: "host-local", DataDir: c.IPAMDir}
	for _, p := range c.PodCIDRs {
		ipam.Ranges = append(ipam.Ranges, []cniRange{{Subnet: p.Masked().String(), Gateway: Gateway(p).String()}})
		ipam.Routes = append(ipam.Routes, cniRoute{Dst: everywhere(p).String()})
	}
	return json.MarshalIndent(cniList{CNIVersion: cniVersion, Name: c.Name, Plugins: []cniBridge{{
		Type: "bridge", Bridge: c.BridgeName, IsGateway: true, HairpinMode: true,
		PortIsolation: bridging == Routed, MTU: mtu, IPAM: ipam,
	}}}, "", "  ")
}

// everywhere is the default route's prefix in the family of p.
func everywhere(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// The runtime takes the first configuration by file name for its pods, and one named loopback for their loopback link.
func (c Config) confFile() string { return filepath.Join(c.CNIConfDir, "10-"+c.Name+".conflist") }

func (c Config) loopbackFile() string {
	return filepath.Join(c.CNIConfDir, "99-"+c.Name+"-loopback.conf")
}

// writeCNI puts the configuration where the runtime finds it.
func (c Config) writeCNI(mtu int, bridging Bridging) error {
	list, err := c.CNI(mtu, bridging)
	if err != nil {
		return fmt.Errorf("rendering the CNI configuration: %w", err)
	}
	loopback, err := json.MarshalIndent(cniSingle{CNIVersion: cniVersion, Name: "loopback", Type: "loopback"}, "", "  ")
	if err != nil {
		return fmt.Errorf("rendering the CNI configuration: %w", err)
	}
	if err := os.MkdirAll(c.CNIConfDir, 0o755); err != nil {
		return fmt.Errorf("making the CNI configuration directory: %w", err)
	}
	if err := replaceFile(c.loopbackFile(), loopback); err != nil {
		return err
	}
	return replaceFile(c.confFile(), list)
}

// replaceFile writes the file so that readers see the old content or the new, and leaves it alone if nothing changed:
// the runtime reloads on every change.
func replaceFile(path string, content []byte) error {
	content = append(content, '\n')
	if old, err := os.ReadFile(path); err == nil && string(old) == string(content) {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".cni-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // gone already unless something failed
	_, err = temp.Write(content)
	for _, step := range []func() error{func() error { return temp.Chmod(0o644) }, temp.Sync, temp.Close} {
		if stepErr := step(); err == nil {
			err = stepErr
		}
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
