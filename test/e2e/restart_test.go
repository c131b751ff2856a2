package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestRestart ends the server in both ways and looks for what must survive:
// every acknowledged write and every container.
func TestRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.serveImages()
	c.start()
	c.apply(t, strings.ReplaceAll(agentPod, "name: agent}", "name: survivor}"))
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/survivor", "--timeout=60s")
	container := func() string {
		return c.kubectl(t, "get", "pod", "survivor", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}")
	}
	before := container()
	c.kubectl(t, "exec", "survivor", "--", "touch", "/tmp/mark")

	if took := c.stop(syscall.SIGTERM); took > 2*time.Second {
		t.Errorf("SIGTERM took %s, want less than 2 s", took)
	}
	c.start()
	settled(t, c, before, container)

	acknowledged := c.writeUntilKilled(t)
	c.start()
	settled(t, c, before, container)
	names := c.kubectl(t, "get", "configmaps", "-o", "name")
	for _, name := range acknowledged {
		if !strings.Contains(names, "configmap/"+name+"\n") {
			t.Errorf("the acknowledged write of %s is lost", name)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("no write was acknowledged before the kill")
	}
	c.kubectl(t, "delete", "pod", "survivor")
}

// settled checks that the pod is the one it was, also some seconds later.
func settled(t *testing.T, c *cluster, before string, container func() string) {
	t.Helper()
	for range 3 {
		if now := container(); now != before {
			t.Errorf("the container was %s and is %s", before, now)
		}
		c.kubectl(t, "exec", "survivor", "--", "ls", "/tmp/mark")
		time.Sleep(time.Second)
	}
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/survivor", "--timeout=30s")
}

// writeUntilKilled creates ConfigMaps, kills the server with SIGKILL in the
// midst and answers the names whose creation was acknowledged.
func (c *cluster) writeUntilKilled(t *testing.T) []string {
	t.Helper()
	var (
		mu    sync.Mutex
		names []string
		group sync.WaitGroup
		quit  = make(chan struct{})
	)
	for worker := range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				name := fmt.Sprintf("write-%d-%d", worker, i)
				if _, err := c.try("create", "configmap", name, "--from-literal=a=b"); err == nil {
					mu.Lock()
					names = append(names, name)
					mu.Unlock()
				}
			}
		})
	}
	time.Sleep(1500 * time.Millisecond)
	c.stop(syscall.SIGKILL)
	close(quit)
	group.Wait()
	return names
}

// TestSideBySide runs two servers on one host at a time: same namespace,
// different data directories, ports and ranges.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	first := newCluster(t)
	first.serveImages()
	first.start()
	second := &cluster{t: t, ns: first.ns, dir: filepath.Join(first.dir, "second")}
	second.kubeconfig = filepath.Join(second.dir, "kubeconfig")
	if err := os.MkdirAll(second.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	second.flags = []string{
		"--data-dir=" + filepath.Join(second.dir, "data"), "--kubeconfig=" + second.kubeconfig, "--node-name=node-1",
		"--port=0", "--kubelet-port=0", "--cluster-cidr=10.245.0.0/16", "--service-cidr=10.97.0.0/16",
	}
	t.Cleanup(func() {
		second.stop(syscall.SIGTERM)
		if out, err := first.ns.Command(t.Context(), binary(t, "bin/skiff"), append([]string{"clean"}, second.flags...)...).CombinedOutput(); err != nil && !errors.Is(t.Context().Err(), err) {
			t.Logf("skiff clean: %v\n%s", err, out)
		}
	})
	second.start()
	for _, c := range []*cluster{first, second} {
		c.apply(t, agentPod)
		c.kubectl(t, "wait", "--for=condition=Ready", "pod/agent", "--timeout=60s")
		if got := strings.TrimSpace(c.kubectl(t, "exec", "agent", "--", "agent", "lookup", "kubernetes.default")); !strings.HasPrefix(got, "10.9") {
			t.Errorf("kubernetes.default is %q", got)
		}
	}
	second.stop(syscall.SIGTERM)
	if out, err := first.ns.Command(t.Context(), binary(t, "bin/skiff"), append([]string{"clean"}, second.flags...)...).CombinedOutput(); err != nil {
		t.Errorf("skiff clean: %v\n%s", err, out)
	}
	first.kubectl(t, "exec", "agent", "--", "agent", "lookup", "kubernetes.default")
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), second.dir) {
		t.Errorf("the second cluster left mounts:\n%s", grep(string(mounts), second.dir))
	}
	if out, err := exec.CommandContext(t.Context(), "ls", second.dir+"/data").CombinedOutput(); err == nil {
		t.Errorf("the second cluster left files: %s", out)
	}
}

func grep(text, word string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
