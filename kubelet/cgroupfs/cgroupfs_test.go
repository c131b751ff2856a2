package cgroupfs

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		own  string
		want []Mount
	}{
		"unified": {"0::/user.slice\n", []Mount{{Type: "cgroup2"}}},
		"version 1": {"3:cpu,cpuacct:/x\n1:name=systemd:/\n", []Mount{
			{Type: "tmpfs", Options: "mode=755"},
			{Dir: "cpu,cpuacct", Type: "cgroup", Options: "cpu,cpuacct"},
			{Dir: "systemd", Type: "cgroup", Options: "none,name=systemd"},
		}},
		"hybrid": {"4:memory:/a:b\n0::/\n", []Mount{
			{Type: "tmpfs", Options: "mode=755"},
			{Dir: "memory", Type: "cgroup", Options: "memory"},
			{Dir: "unified", Type: "cgroup2"},
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Plan(strings.NewReader(tc.own))
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v; want %v", got, err, tc.want)
			}
		})
	}
	for _, bad := range []string{"", "nonsense\n"} {
		if _, err := Plan(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestEnsure runs itself where /sys is bare, as `ip netns exec` leaves it.
func TestEnsure(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if os.Getenv("CGROUPFS_BARE") != "" {
		before, err := os.ReadDir(Root)
		if err != nil || len(before) != 0 {
			t.Fatalf("the namespace is not bare: %v %v", before, err)
		}
		if err := Ensure(); err != nil {
			t.Fatal(err)
		}
		if err := Ensure(); err != nil {
			t.Fatal("second time:", err)
		}
		after, err := os.ReadDir(Root)
		if err != nil || len(after) == 0 {
			t.Fatalf("no hierarchy is visible: %v", err)
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--propagation", "private", "sh", "-c",
		`umount -l /sys && mount -t sysfs bare /sys && exec "$0" -test.run '^TestEnsure$' -test.v`, self)
	cmd.Env = append(os.Environ(), "CGROUPFS_BARE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
