package e2e

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"skiff/test/cluster"
)

// TestUpDown uses skiff as the Makefile does: up, down, up again and clean, each
// a command of its own. It enters the namespace with `ip netns exec`, which
// hides the host's cgroup mounts.
func TestUpDown(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	skiff := func(command string) string {
		t.Helper()
		args := slices.Concat([]string{"netns", "exec", c.NS.Name, cluster.Binary(t, "bin/skiff"), command}, c.Flags)
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("skiff %s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { skiff("down") })
	says := func(command, want string) {
		t.Helper()
		if out := skiff(command); !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("skiff %s does not match %s:\n%s", command, want, out)
		}
	}
	says("down", `no server is running`)
	says("up", `(?s)ok\s+API ready\s+\d+\.\d+ s\n.*ok\s+node Ready\s+\d.*runs as process \d+.*next:\n\s+export KUBECONFIG=`)
	says("up", `already running as process \d+`)
	c.Apply(t, agentPod)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/agent", "--timeout=60s")
	id := c.Kubectl(t, "get", "pod", "agent", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	says("down", `stopped; containers keep running`)
	if traces := strings.Join(c.Traces(), " "); !strings.Contains(traces, "shim") {
		t.Errorf("the container does not run on: %s", traces)
	}
	says("up", `(?s)API ready.*node Ready`)
	if now := c.Kubectl(t, "get", "pod", "agent", "-o", "jsonpath={.status.containerStatuses[0].containerID}"); now != id {
		t.Errorf("the container was %s and is %s", id, now)
	}
	c.Kubectl(t, "exec", "agent", "--", "true")
	says("clean", `removed .* and everything that ran from it`)
	for _, trace := range c.Traces() {
		t.Errorf("left: %s", trace)
	}
	says("clean", `removed`)
}
