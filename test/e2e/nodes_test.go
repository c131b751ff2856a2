package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skiff/test/cluster"
	"skiff/test/netns"
)

// nodePods are a pod on each of two nodes, which serve the same Service. The second reads its greeting from a ConfigMap.
const nodePods = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: green}
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  selector: {app: both}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: both}}
spec:
  nodeSelector: {kubernetes.io/hostname: node-1}
  terminationGracePeriodSeconds: 2
  containers:
  - {name: agent, image: "` + cluster.OpenRegistry + `/agent:v1", args: [serve, "8080"]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: both}}
spec:
  nodeSelector: {example.com/place: elsewhere}
  terminationGracePeriodSeconds: 2
  containers:
  - name: agent
    image: "` + cluster.OpenRegistry + `/agent:v1"
    args: [serve, "8080"]
    env: [{name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}]
    volumeMounts: [{name: settings, mountPath: /settings}]
  volumes: [{name: settings, configMap: {name: settings}}]
`

// startPair starts a server with a node, and an agent whose node joins it.
func startPair(t *testing.T, c *cluster.Cluster, a *cluster.Agent) {
	t.Helper()
	began := time.Now()
	c.Start()
	a.Start("--token="+c.Token(t), "--node-labels=example.com/place=elsewhere")
	t.Logf("two nodes are Ready after %.1f s", time.Since(began).Seconds())
	c.ServeImages()
	c.Apply(t, nodePods)
	if _, err := c.Try("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s"); err != nil {
		t.Fatalf("%v%s", err, c.Kubectl(t, "get", "events"))
	}
}

// TestNodes has two hosts be what users expect of two nodes.
func TestNodes(t *testing.T) {
	t.Parallel()
	c, a := cluster.NewPair(t)
	startPair(t, c, a)
	t.Run("reach", func(t *testing.T) { testReachNodes(t, c, a) })
	t.Run("use", func(t *testing.T) { testUseNode(t, c) })
	t.Run("policy", func(t *testing.T) { testPolicyBetweenNodes(t, c) })
	t.Run("server lost", func(t *testing.T) { testServerLost(t, c, a) })
	t.Run("drain", func(t *testing.T) { testDrain(t, c) })
	t.Run("delete", func(t *testing.T) { testDeleteNode(t, c, a) })
}

// TestNodesBehindARouter has the nodes on networks of their own.
func TestNodesBehindARouter(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("another cluster")
	}
	here, between, there := netns.New(t), netns.New(t), netns.New(t)
	netns.Join(t, here, "eth0", cluster.NodeIP+"/24", between, "eth0", "192.0.2.1/24")
	netns.Join(t, between, "eth1", "198.51.100.1/24", there, "eth0", "198.51.100.11/24")
	here.Route(t, "198.51.100.0/24", "192.0.2.1")
	there.Route(t, "192.0.2.0/24", "198.51.100.1")
	if out, err := between.Command(t.Context(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, a := cluster.Pair(t, here, there, "--node-network=vxlan")
	startPair(t, c, a)
	testReachNodes(t, c, a)
	c.Kubectl(t, "exec", "two", "--", "agent", "lookup", "both")
}

func podIP(t *testing.T, c *cluster.Cluster, name string) string {
	t.Helper()
	return c.Kubectl(t, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
}

func testReachNodes(t *testing.T, c *cluster.Cluster, a *cluster.Agent) {
	for from, to := range map[string]string{"one": "two", "two": "one"} {
		url := "http://" + podIP(t, c, to) + ":8080"
		if got := c.Kubectl(t, "exec", from, "--", "agent", "get", url, "3"); strings.Count(got, "Hello from "+to) != 3 {
			t.Errorf("%s got of %s: %q", from, to, got)
		}
		var answers map[string]int
		cluster.WaitFor(t, "the Service to have both endpoints", 20*time.Second, func() error {
			out, err := c.Try("exec", from, "--", "agent", "get", "http://both", "20")
			if answers = hosts(out); err == nil && len(answers) != 2 {
				err = fmt.Errorf("%v answered", answers)
			}
			return err
		})
	}
	// The hosts themselves reach pods of the other: so does the API server its webhooks.
	for from, to := range map[*netns.Namespace]string{c.NS: "two", a.NS: "one"} {
		conn, err := from.Dial(t.Context(), "tcp", podIP(t, c, to)+":8080")
		if err != nil {
			t.Errorf("the other host to %s: %v", to, err)
			continue
		}
		_ = conn.Close()
	}
}

func testUseNode(t *testing.T, c *cluster.Cluster) {
	if got := c.Kubectl(t, "exec", "two", "--", "sh", "-c", "echo $COLOR; cat /settings/color; agent lookup both >/dev/null"); !strings.HasPrefix(got, "green\ngreen") {
		t.Errorf("the pod of the joined node sees %q", got)
	}
	c.Kubectl(t, "patch", "configmap", "settings", "-p", `{"data":{"color":"blue"}}`)
	cluster.WaitFor(t, "the change to reach the volume", 30*time.Second, func() error {
		got, err := c.Try("exec", "two", "--", "cat", "/settings/color")
		if err == nil && got != "blue" {
			err = fmt.Errorf("it has %q", got)
		}
		return err
	})
	c.Apply(t, strings.NewReplacer("name: agent}", "name: talker}", "  terminationGracePeriodSeconds: 2\n", "  restartPolicy: Never\n  nodeName: node-2\n", `agent:v1"`, `agent:v1", args: [get, "http://both"]`).Replace(agentPod))
	c.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=30s")
	if got := c.Kubectl(t, "logs", "talker"); !strings.HasPrefix(got, "Hello from ") {
		t.Errorf("the log of a pod of the joined node is %q", got)
	}
	c.Kubectl(t, "delete", "pod", "talker")
	c.Apply(t, claimOnNode2)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/keeper", "--timeout=30s")
	c.Kubectl(t, "exec", "keeper", "--", "touch", "/data/mark")
	c.Kubectl(t, "delete", "pod/keeper", "pvc/kept")
}

// claimOnNode2 wants a volume of the default class on the joined node.
const claimOnNode2 = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  nodeSelector: {kubernetes.io/hostname: node-2}
  terminationGracePeriodSeconds: 1
  containers:
  - {name: agent, image: "` + cluster.OpenRegistry + `/agent:v1", volumeMounts: [{name: kept, mountPath: /data}]}
  volumes: [{name: kept, persistentVolumeClaim: {claimName: kept}}]
`

// testPolicyBetweenNodes judges by the address that a pod has, which so must not be translated on the way.
func testPolicyBetweenNodes(t *testing.T, c *cluster.Cluster) {
	url := "http://" + podIP(t, c, "two") + ":8080"
	ask := func(who string) error {
		_, err := c.Try("exec", "one", "--", "agent", "get", url)
		if err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
		return nil
	}
	policy := func(from string) string {
		return `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"guard"},"spec":{"podSelector":{"matchLabels":{"app":"both"}},"ingress":[{"from":[{"podSelector":{"matchLabels":` + from + `}}]}]}}`
	}
	c.Apply(t, policy(`{"app":"nobody"}`))
	cluster.WaitFor(t, "the policy to refuse", 20*time.Second, func() error {
		if ask("nobody") == nil {
			return fmt.Errorf("the policy lets it through")
		}
		return nil
	})
	c.Apply(t, policy(`{"app":"both"}`))
	cluster.WaitFor(t, "the policy to allow", 20*time.Second, func() error { return ask("both") })
	c.Kubectl(t, "delete", "networkpolicy", "guard")
}

// testServerLost kills the server, and restarts the agent meanwhile: the pod runs on, and is restarted when it crashes.
func testServerLost(t *testing.T, c *cluster.Cluster, a *cluster.Agent) {
	state := func() string {
		return c.Kubectl(t, "get", "pod", "two", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}")
	}
	before, address := state(), podIP(t, c, "two")+":8080"
	serves := func(when string) {
		t.Helper()
		conn, err := a.NS.Dial(t.Context(), "tcp", address)
		if err != nil {
			t.Errorf("%s: %v", when, err)
			return
		}
		_ = conn.Close()
	}
	c.Stop(syscall.SIGKILL)
	serves("without a server")
	crash(t, a)
	cluster.WaitFor(t, "the crashed container to be restarted without a server", 30*time.Second, func() error {
		conn, err := a.NS.Dial(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	a.Stop(syscall.SIGTERM)
	serves("without an agent")
	a.Launch("--node-labels=example.com/place=elsewhere")
	serves("with an agent that finds no server")
	began := time.Now()
	c.Start()
	a.Ready(began)
	serves("with both again")
	cluster.WaitFor(t, "the API to know of the one restart", 20*time.Second, func() error {
		was, is := strings.Fields(before), strings.Fields(state())
		if len(is) != 3 || is[0] == was[0] || is[1] != "1" || is[2] != was[2] {
			return fmt.Errorf("the container was %v and is %v", was, is)
		}
		return nil
	})
	c.Kubectl(t, "exec", "two", "--", "true")
}

// crash kills what the pods of the agent's node serve with.
func crash(t *testing.T, a *cluster.Agent) {
	t.Helper()
	programs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, path := range programs {
		said, _ := os.ReadFile(path)
		group, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		if string(said) != "/bin/agent\x00serve\x008080\x00" || !strings.Contains(string(group), a.Cgroup()) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cluster.WaitFor(t, "the killed process to go", 10*time.Second, func() error {
			// Its memory goes first, its listener later: only when it has been waited for has all of it gone.
			if _, err := os.Stat(path); err == nil {
				return fmt.Errorf("process %d is there", pid)
			}
			return nil
		})
		killed++
	}
	if killed == 0 {
		t.Fatal("nothing serves on the agent's node")
	}
}

func testDrain(t *testing.T, c *cluster.Cluster) {
	c.Kubectl(t, "create", "deployment", "mover", "--image="+cluster.OpenRegistry+"/agent:v1", "--replicas=4")
	c.Kubectl(t, "rollout", "status", "deployment/mover", "--timeout=60s")
	if on := c.Kubectl(t, "get", "pods", "-l", "app=mover", "-o", "jsonpath={.items[*].spec.nodeName}"); !strings.Contains(on, "node-1") || !strings.Contains(on, "node-2") {
		t.Errorf("the pods are on %s", on)
	}
	c.Kubectl(t, "drain", "node-2", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
	c.Kubectl(t, "rollout", "status", "deployment/mover", "--timeout=60s")
	if left := c.Kubectl(t, "get", "pods", "--field-selector=spec.nodeName=node-2", "-o", "name"); left != "" {
		t.Errorf("left on the drained node: %s", left)
	}
	if row := c.Kubectl(t, "get", "node", "node-2", "--no-headers"); !strings.Contains(row, "Ready,SchedulingDisabled") {
		t.Errorf("the drained node: %s", row)
	}
	if out, err := c.Try("run", "late", "--image="+cluster.OpenRegistry+"/agent:v1", `--overrides={"spec":{"nodeSelector":{"example.com/place":"elsewhere"}}}`); err != nil {
		t.Error(out, err)
	}
	cluster.WaitFor(t, "the cordoned node to be told of", 20*time.Second, func() error {
		why, err := c.Try("get", "pod", "late", "-o", "jsonpath={.status.conditions[0].message}")
		if err == nil && !strings.Contains(why, "were unschedulable") {
			err = fmt.Errorf("%q", why)
		}
		return err
	})
	c.Kubectl(t, "uncordon", "node-2")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/late", "--timeout=30s")
	c.Kubectl(t, "delete", "pod", "late", "--grace-period=1")
	c.Kubectl(t, "delete", "deployment", "mover")
}

// testDeleteNode removes the node; its host is a node again when its agent starts the next time, without a token.
func testDeleteNode(t *testing.T, c *cluster.Cluster, a *cluster.Agent) {
	uid := func() string { return c.Kubectl(t, "get", "node", a.Name, "-o", "jsonpath={.metadata.uid}") }
	before := uid()
	c.Kubectl(t, "delete", "node", a.Name)
	cluster.WaitFor(t, "the route to its pods to go", 20*time.Second, func() error {
		out, err := cluster.Output(c.NS.Command(t.Context(), "ip", "route"))
		if err == nil && strings.Contains(out, "via "+cluster.AgentIP) {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	a.Stop(syscall.SIGTERM)
	a.Start("--node-labels=example.com/place=elsewhere")
	if after := uid(); after == before {
		t.Errorf("the node is %s still", after)
	}
	c.Apply(t, nodePods)
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/two", "--timeout=60s")
	testReachNodes(t, c, a)
}

// klogLine is a line of the log, which is not what the user is told.
var klogLine = regexp.MustCompile(`^[IWE]\d{4} `)

// TestJoinRefused gives agents what they can't join with; each says in one line what, and how to mend it.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	c, a := cluster.NewPair(t)
	refused := func(want string, flags ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := a.Command(ctx, flags...).CombinedOutput()
		var said []string
		for line := range strings.Lines(string(out)) {
			if !klogLine.MatchString(line) {
				said = append(said, strings.TrimSpace(line))
			}
		}
		if err == nil || len(said) != 1 || !strings.Contains(said[0], want) || !strings.HasPrefix(said[0], "skiff: ") {
			t.Errorf("with %v (%v), want %q in one line:\n%s", flags, err, want, out)
		}
	}
	nobodys := "skiff1" + strings.Repeat("00", 32) + "::abcdef.0123456789abcdef"
	refused("can't reach https://"+cluster.NodeIP+":6443", "--token="+nobodys)
	c.Start()
	refused("has not joined", "--kubelet-port=0")
	refused("token: it is not one", "--token=abcdef.0123456789abcdef")
	refused("server: \"192.0.2.10\" is not the URL", "--token="+nobodys, "--server="+cluster.NodeIP)
	refused("is not the one that the token is of", "--token="+nobodys)
	token := c.Token(t)
	pin, _, _ := strings.Cut(token, "::")
	refused("expired or was revoked", "--token="+pin+"::abcdef.0123456789abcdef")
	refused("a node node-1 is in the cluster and Ready", "--token="+token, "--node-name=node-1")
	// The API trusts a token that it has seen for ten seconds more: the one that is revoked is new.
	token = c.Token(t, "--description=for a test", "--ttl=1h")
	id := strings.TrimPrefix(token, pin+"::")[:6]
	if list, err := c.Skiff("token", "list", "--kubeconfig="+c.Kubeconfig); err != nil || !strings.Contains(list, id) || !strings.Contains(list, "for a test") || strings.Contains(list, token[len(token)-16:]) {
		t.Errorf("the tokens are (%v):\n%s", err, list)
	}
	if _, err := c.Skiff("token", "revoke", id, "--kubeconfig="+c.Kubeconfig); err != nil {
		t.Error(err)
	}
	if _, err := c.Skiff("token", "revoke", id, "--kubeconfig="+c.Kubeconfig); err == nil || !strings.Contains(err.Error(), "there is none of this ID") {
		t.Errorf("revoked twice: %v", err)
	}
	refused("expired or was revoked", "--token="+token)
}
