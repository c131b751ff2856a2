package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"skiff/config"
	"skiff/test/netns"
)

// AgentIP is the address of the second host of NewPair.
const AgentIP = "192.0.2.11"

// Agent is a second host with a node that joined.
type Agent struct {
	NS      *netns.Namespace
	Cluster *Cluster
	Name    string   // of the node
	Flags   []string // of skiff agent and its siblings, but for --server and --token
	Process *exec.Cmd

	t     testing.TB
	dir   string
	ended chan error
}

// NewPair makes a server's host and an agent's, two network namespaces joined by a cable and with no way out. Start and
// Agent.Join run them.
func NewPair(t testing.TB, flags ...string) (*Cluster, *Agent) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running containers needs root")
	}
	here, there := netns.New(t), netns.New(t)
	netns.Join(t, here, "eth0", NodeIP+"/24", there, "eth0", AgentIP+"/24")
	return Pair(t, here, there, flags...)
}

// Pair is NewPair with namespaces that are connected already.
func Pair(t testing.TB, here, there *netns.Namespace, flags ...string) (*Cluster, *Agent) {
	t.Helper()
	c := in(t, here, flags)
	dir, err := os.MkdirTemp("", "skiff-e2e-agent-")
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{t: t, NS: there, Cluster: c, Name: "node-2", dir: dir}
	a.Flags = []string{"--config=" + filepath.Join(dir, "config.yaml"), "--data-dir=" + a.DataDir(), "--node-name=" + a.Name}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("v: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.joined = append(c.joined, there)
	t.Cleanup(a.remove)
	return c, a
}

// DataDir is the agent's data directory.
func (a *Agent) DataDir() string { return filepath.Join(a.dir, "data") }

// Cgroup names the cgroup that holds the agent's pods.
func (a *Agent) Cgroup() string {
	cfg := config.Config{DataDir: a.DataDir()}
	return cfg.CgroupParent()
}

// LogFile holds what the agent said.
func (a *Agent) LogFile() string { return filepath.Join(a.dir, "agent.log") }

// Token creates a token with which nodes may join.
func (c *Cluster) Token(t testing.TB, flags ...string) string {
	t.Helper()
	out, err := Output(c.skiff(append([]string{"token", "create", "--kubeconfig=" + c.Kubeconfig}, flags...)...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// Skiff runs skiff on the server's host and answers what it printed.
func (c *Cluster) Skiff(args ...string) (string, error) { return Output(c.skiff(args...)) }

func (c *Cluster) skiff(args ...string) *exec.Cmd {
	return c.NS.Command(c.t.Context(), Binary(c.t, "bin/skiff"), args...)
}

// Command prepares `skiff agent` with the flags.
func (a *Agent) Command(ctx context.Context, flags ...string) *exec.Cmd {
	args := append([]string{"agent", "--server=https://" + NodeIP + ":6443"}, a.Flags...)
	return a.NS.Command(ctx, Binary(a.t, "bin/skiff"), append(args, flags...)...)
}

// Start runs the agent and waits until its node is Ready.
func (a *Agent) Start(flags ...string) {
	a.t.Helper()
	began := time.Now()
	a.Launch(flags...)
	a.Ready(began)
}

// Ready waits for the node to be Ready by a lease that was renewed since.
func (a *Agent) Ready(since time.Time) {
	a.t.Helper()
	WaitFor(a.t, "the agent's node to be Ready", time.Minute, func() error {
		renewed, err := a.Cluster.Try("get", "lease", "-n", "kube-node-lease", a.Name, "-o", "jsonpath={.spec.renewTime}")
		if err != nil {
			return err
		}
		if at, err := time.Parse(time.RFC3339, renewed); err != nil || at.Before(since) {
			return fmt.Errorf("its lease was renewed at %q (%w)", renewed, err)
		}
		out, err := a.Cluster.Try("get", "node", a.Name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("Ready is %q", out)
		}
		return err
	})
}

// Launch runs the agent without waiting for it.
func (a *Agent) Launch(flags ...string) {
	a.t.Helper()
	log, err := os.OpenFile(a.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	cmd := a.Command(context.WithoutCancel(a.t.Context()), flags...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	a.Process, a.ended = cmd, ended
}

// Stop signals the agent and waits for its end. SIGTERM must end it with exit code 0.
func (a *Agent) Stop(signal syscall.Signal) {
	if a.Process == nil {
		return
	}
	end(a.t, "agent", a.Process, a.ended, signal)
	a.Process = nil
}

func (a *Agent) remove() {
	a.Stop(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.t.Context()), time.Minute)
	defer cancel()
	clean := []string{"clean", "--config=" + filepath.Join(a.dir, "config.yaml"), "--data-dir=" + a.DataDir(), "--kubeconfig="}
	if out, err := a.NS.Command(ctx, Binary(a.t, "bin/skiff"), clean...).CombinedOutput(); err != nil {
		a.t.Errorf("skiff clean: %v\n%s", err, out)
	}
	for _, trace := range traces(a.t, a.NS, a.DataDir()) {
		a.t.Errorf("skiff clean left %s of the agent", trace)
	}
	if a.t.Failed() {
		a.t.Logf("the agent's log is kept: %s", a.LogFile())
		return
	}
	if err := os.RemoveAll(a.dir); err != nil {
		a.t.Error(err)
	}
}
