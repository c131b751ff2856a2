package network

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func testConfig(t *testing.T) Config {
	return Config{
		Name: "skiff-test", BridgeName: "sk-net-test",
		PodCIDRs: prefixes("10.244.3.0/24"), ClusterCIDRs: prefixes("10.244.0.0/16"), ServiceCIDRs: prefixes("10.96.0.0/16"),
		CNIConfDir: t.TempDir(), IPAMDir: t.TempDir(),
	}
}

func TestValidate(t *testing.T) {
	if err := testConfig(t).Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"is no name for a link":    func(c *Config) { c.BridgeName = "a-name-that-is-too-long" },
		"is no name for a CNI":     func(c *Config) { c.Name = "../x" },
		"has no pod CIDR":          func(c *Config) { c.PodCIDRs = nil },
		"has no room for pods":     func(c *Config) { c.PodCIDRs = prefixes("10.244.3.0/31") },
		"another one of its":       func(c *Config) { c.PodCIDRs = prefixes("10.244.3.0/24", "10.244.4.0/24") },
		"overlaps Service CIDR":    func(c *Config) { c.ServiceCIDRs = prefixes("10.244.0.0/20") },
		"MTU 100000 is out of":     func(c *Config) { c.MTU = 100000 },
		"cluster CIDR 10.96.0.0/8": func(c *Config) { c.ClusterCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/8")} },
	} {
		c := testConfig(t)
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestCNI(t *testing.T) {
	c := testConfig(t)
	c.IPAMDir = "/ipam"
	c.PodCIDRs = prefixes("10.244.3.0/24", "fd00:10::/64")
	got, err := c.CNI(1450, Routed)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
	  "cniVersion": "1.0.0", "name": "skiff-test",
	  "plugins": [{
	    "type": "bridge", "bridge": "sk-net-test", "isGateway": true, "ipMasq": false, "hairpinMode": true,
	    "portIsolation": true, "mtu": 1450,
	    "ipam": {
	      "type": "host-local", "dataDir": "/ipam",
	      "ranges": [[{"subnet": "10.244.3.0/24", "gateway": "10.244.3.1"}], [{"subnet": "fd00:10::/64", "gateway": "fd00:10::1"}]],
	      "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
	    }
	  }]
	}`
	if canonical(t, string(got)) != canonical(t, want) {
		t.Errorf("got %s", got)
	}
}

func canonical(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
