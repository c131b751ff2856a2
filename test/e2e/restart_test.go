package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"skiff/test/cluster"
)

// TestRestart ends the server in both ways and looks for what must survive:
// every acknowledged write and every container.
func TestRestart(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	c.Apply(t, strings.ReplaceAll(agentPod, "name: agent}", "name: survivor}"))
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/survivor", "--timeout=60s")
	container := func() string {
		return c.Kubectl(t, "get", "pod", "survivor", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}")
	}
	before := container()
	c.Kubectl(t, "exec", "survivor", "--", "touch", "/tmp/mark")

	if took := c.Stop(syscall.SIGTERM); took > 2*time.Second {
		t.Errorf("SIGTERM took %s, want less than 2 s", took)
	}
	c.Start()
	settled(t, c, before, container)

	acknowledged := writeUntilKilled(t, c)
	c.Start()
	settled(t, c, before, container)
	names := c.Kubectl(t, "get", "configmaps", "-o", "name")
	for _, name := range acknowledged {
		if !strings.Contains(names, "configmap/"+name+"\n") {
			t.Errorf("the acknowledged write of %s is lost", name)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("no write was acknowledged before the kill")
	}
	c.Kubectl(t, "delete", "pod", "survivor")
}

// settled checks that the pod is the one it was, also some seconds later.
func settled(t *testing.T, c *cluster.Cluster, before string, container func() string) {
	t.Helper()
	for range 3 {
		if now := container(); now != before {
			t.Errorf("the container was %s and is %s", before, now)
		}
		c.Kubectl(t, "exec", "survivor", "--", "ls", "/tmp/mark")
		time.Sleep(time.Second)
	}
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/survivor", "--timeout=30s")
}

// writeUntilKilled creates ConfigMaps, kills the server with SIGKILL in the
// midst and answers the names whose creation was acknowledged.
func writeUntilKilled(t *testing.T, c *cluster.Cluster) []string {
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
				if _, err := c.Try("create", "configmap", name, "--from-literal=a=b"); err == nil {
					mu.Lock()
					names = append(names, name)
					mu.Unlock()
				}
			}
		})
	}
	time.Sleep(1500 * time.Millisecond)
	c.Stop(syscall.SIGKILL)
	close(quit)
	group.Wait()
	return names
}

// TestSideBySide runs two servers on one host at a time: same namespace,
// different data directories, ports and ranges.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	first := cluster.New(t)
	first.ServeImages()
	first.Start()
	second := first.Beside(t, "--port=0", "--kubelet-port=0", "--cluster-cidr=10.245.0.0/16", "--service-cidr=10.97.0.0/16")
	second.Start()
	for _, c := range []*cluster.Cluster{first, second} {
		c.Apply(t, agentPod)
		c.Kubectl(t, "wait", "--for=condition=Ready", "pod/agent", "--timeout=60s")
		if got := strings.TrimSpace(c.Kubectl(t, "exec", "agent", "--", "agent", "lookup", "kubernetes.default")); !strings.HasPrefix(got, "10.9") {
			t.Errorf("kubernetes.default is %q", got)
		}
	}
	second.Stop(syscall.SIGTERM)
	if err := second.Clean(); err != nil {
		t.Error(err)
	}
	first.Kubectl(t, "exec", "agent", "--", "agent", "lookup", "kubernetes.default")
	for _, trace := range second.Traces() {
		t.Errorf("the second cluster left %s", trace)
	}
}
