package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"skiff/test/cluster"
)

// TestMetrics looks with kubectl top at what containers really use, with nothing
// installed, and lets another server take the API over and give it back.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	c.Apply(t, busyPod)
	c.Kubectl(t, "wait", "--for=jsonpath={.status.containerStatuses[1].restartCount}=1", "pod/busy", "--timeout=60s")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/busy", "--timeout=60s")
	steps := []struct {
		name string
		run  func(*testing.T, *cluster.Cluster)
	}{
		{"nodes, at once", testTopNodes},
		{"pods and containers", testTopPods},
		{"whoever may view", testTopView},
		{"an installed metrics server takes over", testTopInstalled},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) { s.run(t, c) })
	}
}

// busyPod uses a tenth of a processor, as much as it may, beside a container that
// does nothing and was restarted. A third one has ended before.
const busyPod = `
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: marks, emptyDir: {}}]
  initContainers:
  - {name: first, image: "` + cluster.OpenRegistry + `/python-app:v1", command: [/usr/bin/python3, -S, -c, "pass"]}
  containers:
  - name: busy
    image: "` + cluster.OpenRegistry + `/python-app:v1"
    command: [/usr/bin/python3, -S, -c, "while True: pass"]
    resources: {limits: {cpu: 100m, memory: 128Mi}}
  - name: idle
    image: "` + cluster.OpenRegistry + `/python-app:v1"
    command: [/usr/bin/python3, -S, -c, "import os, time\nif not os.path.exists('/marks/x'): open('/marks/x', 'w'); os._exit(1)\ntime.sleep(3600)"]
    volumeMounts: [{name: marks, mountPath: /marks}]
`

// quantity reads what kubectl top prints: 12m, 345Mi, 6%.
func quantity(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimRight(s, "mMi%"))
	if err != nil {
		t.Fatalf("%q is no quantity", s)
	}
	return n
}

// rows are the fields of a table's lines.
func rows(table string) (out [][]string) {
	for line := range strings.Lines(table) {
		out = append(out, strings.Fields(line))
	}
	return out
}

func testTopNodes(t *testing.T, c *cluster.Cluster) {
	began := time.Now()
	out := c.Kubectl(t, "top", "nodes")
	took := time.Since(began)
	t.Logf("after %v:\n%s", took, out)
	got := rows(out)
	if len(got) != 2 || fmt.Sprint(got[0]) != "[NAME CPU(cores) CPU(%) MEMORY(bytes) MEMORY(%)]" || got[1][0] != "node-1" {
		t.Fatalf("kubectl top nodes:\n%s", out)
	}
	if cpu, memory := quantity(t, got[1][1]), quantity(t, got[1][3]); cpu == 0 || memory < 64 {
		t.Errorf("the node uses %dm and %dMi", cpu, memory)
	}
	table := c.Kubectl(t, "get", "nodes.metrics.k8s.io")
	t.Logf("\n%s", table)
	if got := rows(table); len(got) != 2 || fmt.Sprint(got[0]) != "[NAME CPU MEMORY WINDOW]" {
		t.Errorf("kubectl get nodes.metrics.k8s.io:\n%s", table)
	}
}

func testTopPods(t *testing.T, c *cluster.Cluster) {
	// On a busy machine it may take a while to get what it may use.
	cluster.WaitFor(t, "the pod to use a tenth of a processor", time.Minute, func() error {
		out := c.Kubectl(t, "top", "pod", "busy", "--no-headers")
		if n := quantity(t, rows(out)[0][1]); n < 50 || n > 150 {
			return fmt.Errorf("it uses %dm", n)
		}
		return nil
	})
	out := c.Kubectl(t, "top", "pods", "--selector=app=busy")
	t.Logf("\n%s", out)
	got := rows(out)
	if len(got) != 2 || fmt.Sprint(got[0]) != "[NAME CPU(cores) MEMORY(bytes)]" || got[1][0] != "busy" {
		t.Fatalf("kubectl top pods:\n%s", out)
	}
	out = c.Kubectl(t, "top", "pods", "--all-namespaces", "--containers", "--sort-by=cpu")
	t.Logf("\n%s", out)
	if got = rows(out); len(got) != 3 || got[1][2] != "busy" || got[2][2] != "idle" {
		t.Fatalf("kubectl top pods --containers:\n%s", out)
	}
	if busy, idle := quantity(t, got[1][3]), quantity(t, got[2][3]); busy <= idle {
		t.Errorf("the busy container uses %dm, the idle one %dm", busy, idle)
	}
	if out, err := c.Try("top", "pod", "none"); err == nil || !strings.Contains(err.Error(), `pods "none" not found`) {
		t.Errorf("a pod that isn't there: %s, %v", out, err)
	}
}

func testTopView(t *testing.T, c *cluster.Cluster) {
	const as = "--as=system:serviceaccount:default:default"
	if out, err := c.Try("top", "pods", as); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("whoever may not: %s, %v", out, err)
	}
	c.Kubectl(t, "create", "rolebinding", "view", "--clusterrole=view", "--serviceaccount=default:default")
	cluster.WaitFor(t, "kubectl top for whoever may view", 30*time.Second, func() error {
		out, err := c.Try("top", "pods", as)
		if err != nil || !strings.Contains(out, "busy") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// metricsServer is the part of a chart that matters here. Nothing answers there.
const metricsServer = `
apiVersion: v1
kind: Service
metadata: {name: metrics-server}
spec: {ports: [{name: https, port: 443}], selector: {app: metrics-server}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  {group: metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true,
  service: {name: metrics-server, namespace: default}}
`

// testTopInstalled installs by Helm, which doesn't touch what it finds.
func testTopInstalled(t *testing.T, c *cluster.Cluster) {
	chart := filepath.Join(c.Dir, "metrics-server")
	for name, text := range map[string]string{"Chart.yaml": "{apiVersion: v2, name: metrics-server, version: 0.1.0}\n", "templates/all.yaml": metricsServer} {
		path := filepath.Join(chart, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	helm := func(args ...string) {
		t.Helper()
		if out, err := c.Command("helm4", args...).CombinedOutput(); err != nil {
			t.Fatalf("helm %v: %v\n%s", args, err, out)
		}
	}
	helm("install", "metrics-server", chart)
	cluster.WaitFor(t, "the API to be the installed one's", 30*time.Second, func() error {
		if out, err := c.Try("top", "nodes"); err == nil {
			return fmt.Errorf("kubectl top answers although nothing serves: %s", out)
		}
		return nil
	})
	helm("uninstall", "metrics-server")
	cluster.WaitFor(t, "the API to come back", 30*time.Second, func() error {
		out, err := c.Try("top", "nodes")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
