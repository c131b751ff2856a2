package network

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"skiff/kubelet/network/nstest"
)

// TestPlugins attaches two pods with the real CNI plugins, by the configuration as written, and has one call the other.
// The plugins are there once the bundle was built.
func TestPlugins(t *testing.T) {
	nstest.Need(t)
	bin, err := filepath.Abs("../../build/bundle")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bridge", "host-local"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Skip("the CNI plugins aren't built")
		}
	}
	for _, bridging := range []Bridging{Filtered, Routed} {
		before := host(t)
		c := testConfig(t)
		c.Bridging = bridging
		setupTwice(t, c)
		first := attach(t, c, bin, "first")
		second := attach(t, c, bin, "second")
		second.Serve(t, 8080)
		if server, client, err := first.Ask("tcp", "10.244.3.3:8080"); err != nil || server != "second" || client != "10.244.3.2" {
			t.Errorf("%s: %s answered %s: %v", bridging, server, client, err)
		}
		if server, _, err := (*nstest.Namespace)(nil).Ask("tcp", "10.244.3.3:8080"); err != nil || server != "second" {
			t.Errorf("%s: %s answered the node: %v", bridging, server, err)
		}
		if err := Cleanup(c); err != nil {
			t.Error(err)
		}
		if after := host(t); len(after) != len(before) {
			t.Errorf("%s: left behind: %v, before: %v", bridging, after, before)
		}
	}
}

// attach runs the list's plugin as the runtime does.
func attach(t *testing.T, c Config, bin, name string) *nstest.Namespace {
	t.Helper()
	raw, err := os.ReadFile(c.confFile())
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		CNIVersion string           `json:"cniVersion"`
		Name       string           `json:"name"`
		Plugins    []map[string]any `json:"plugins"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	plugin := list.Plugins[0]
	plugin["cniVersion"], plugin["name"] = list.CNIVersion, list.Name
	stdin, err := json.Marshal(plugin)
	if err != nil {
		t.Fatal(err)
	}
	pod := nstest.New(t, name)
	cmd := exec.Command(filepath.Join(bin, "bridge"))
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+name, "CNI_NETNS="+pod.Path(), "CNI_IFNAME=eth0", "CNI_PATH="+bin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("attaching %s: %v\n%s", name, err, out)
	}
	err = pod.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil && link.Attrs().MTU != defaultMTU {
			t.Errorf("MTU %d", link.Attrs().MTU)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}
