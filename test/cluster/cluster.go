// Package cluster runs bin/skiff for tests: a server with a node that runs real
// containers, in a network namespace with no way out, together with unmodified
// Kubectl and helm and two image registries.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"skiff/config"
	"skiff/internal/ociimage"
	"skiff/test/images"
	"skiff/test/netns"
	"skiff/test/registry"
)

const (
	NodeIP       = "192.0.2.10"
	OpenRegistry = "127.0.0.1:5000"
	AuthRegistry = "127.0.0.1:5001"
)

// Cluster is one skiff server with its node in a network namespace of its own.
type Cluster struct {
	NS         *netns.Namespace
	Dir        string // everything of the cluster's on disk
	Kubeconfig string
	Flags      []string // of skiff server and its siblings
	Server     *exec.Cmd
	Open, Auth *registry.Registry // after ServeImages

	t      testing.TB
	joined []*netns.Namespace // of agents
	ended  chan error         // gets the server's exit
}

// Binary answers the path of something that make built, in the nearest folder
// above the test that has it.
func Binary(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
			return filepath.Join(dir, path)
		}
		above := filepath.Dir(dir)
		if above == dir {
			t.Fatalf("%s does not exist: run `make build clients` first", path)
		}
		dir = above
	}
}

// New makes the namespace and the directories of a cluster and arranges that no
// trace of it stays; Start runs its server.
func New(t testing.TB, flags ...string) *Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running containers needs root")
	}
	return in(t, netns.New(t, NodeIP+"/24"), flags)
}

// Beside makes a second cluster in the namespace of c.
func (c *Cluster) Beside(t testing.TB, flags ...string) *Cluster {
	t.Helper()
	return in(t, c.NS, flags)
}

func in(t testing.TB, ns *netns.Namespace, flags []string) *Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "skiff-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), NS: ns}
	c.Flags = append([]string{
		"--config=" + filepath.Join(dir, "config.yaml"), "--data-dir=" + c.DataDir(),
		"--kubeconfig=" + c.Kubeconfig, "--node-name=node-1",
	}, flags...)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("v: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	return c
}

// DataDir answers the server's data directory.
func (c *Cluster) DataDir() string { return filepath.Join(c.Dir, "data") }

// Clean runs `skiff clean`, which must find everything the server made.
func (c *Cluster) Clean() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	out, err := c.NS.Command(ctx, Binary(c.t, "bin/skiff"), append([]string{"clean"}, c.Flags...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("skiff clean: %w\n%s", err, out)
	}
	return nil
}

// Traces answers what is left of the server on this machine: files, mounts,
// cgroups, links, tables and processes.
func (c *Cluster) Traces() []string {
	found := traces(c.t, c.NS, c.DataDir())
	if _, err := os.Stat(c.Kubeconfig); err == nil {
		found = append(found, c.Kubeconfig)
	}
	return found
}

// traces answers what is left of the skiff with the data directory.
func traces(t testing.TB, ns *netns.Namespace, dataDir string) []string {
	cfg := config.Config{DataDir: dataDir}
	var found []string
	for _, pattern := range []string{dataDir, cfg.RunDir(), "/sys/fs/cgroup/" + cfg.CgroupParent(), "/sys/fs/cgroup/*/" + cfg.CgroupParent()} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dataDir) || strings.Contains(line, cfg.RunDir()+"/") {
			found = append(found, "the mount "+strings.TrimSpace(line))
		}
	}
	links, err := Output(ns.Command(context.WithoutCancel(t.Context()), "ip", "-br", "link"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(links) {
		if name := strings.Fields(line)[0]; name == cfg.Instance() || name == cfg.DNSLink() || name == cfg.TunnelLink() {
			found = append(found, "the link "+name)
		}
	}
	programs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range programs {
		raw, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(raw), cfg.RunDir()+"/") {
			found = append(found, "the process "+strings.ReplaceAll(string(raw), "\x00", " "))
		}
	}
	return found
}

func (c *Cluster) remove() {
	c.Stop(syscall.SIGTERM)
	if err := c.Clean(); err != nil {
		c.t.Error(err)
	}
	for _, trace := range c.Traces() {
		c.t.Errorf("skiff clean left %s", trace)
	}
	if c.t.Failed() {
		c.t.Logf("the server's log is kept: %s", c.LogFile())
		return
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.t.Error(err)
	}
}

// LogFile holds what the server said.
func (c *Cluster) LogFile() string { return filepath.Join(c.Dir, "server.log") }

// Start runs the server and waits for its node.
func (c *Cluster) Start() {
	c.t.Helper()
	began := time.Now()
	c.Launch()
	WaitFor(c.t, "the node to be Ready", time.Minute, func() error {
		// A lease from before this start says nothing of it.
		renewed, err := c.Try("get", "lease", "-n", "kube-node-lease", "node-1", "-o", "jsonpath={.spec.renewTime}")
		if err != nil {
			return err
		}
		if at, err := time.Parse(time.RFC3339, renewed); err != nil || at.Before(began) {
			return fmt.Errorf("its lease was renewed at %q (%w)", renewed, err)
		}
		out, err := c.Try("get", "node", "node-1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("Ready is %q", out)
		}
		return err
	})
}

// Launch runs the server without waiting for it.
func (c *Cluster) Launch() {
	c.t.Helper()
	log, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := c.NS.Command(context.WithoutCancel(c.t.Context()), Binary(c.t, "bin/skiff"), append([]string{"server"}, c.Flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c.Server, c.ended = cmd, ended
}

// Stop signals the server, waits for its end and answers how long that took.
// SIGTERM must end it with exit code 0.
func (c *Cluster) Stop(signal syscall.Signal) time.Duration {
	if c.Server == nil {
		return 0
	}
	began := time.Now()
	end(c.t, "server", c.Server, c.ended, signal)
	c.Server = nil
	return time.Since(began)
}

// end signals a process and waits until it has ended, which it must soon, and on SIGTERM with exit code 0.
func end(t testing.TB, who string, process *exec.Cmd, ended <-chan error, signal syscall.Signal) {
	t.Helper()
	_ = process.Process.Signal(signal)
	select {
	case err := <-ended:
		if err != nil && signal == syscall.SIGTERM {
			t.Errorf("the %s ended with %v on SIGTERM", who, err)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("the %s did not end on %s", who, signal)
		_ = process.Process.Kill()
		<-ended
	}
}

// Command prepares an unmodified client inside the cluster's namespace.
func (c *Cluster) Command(client string, args ...string) *exec.Cmd {
	cmd := c.NS.Command(c.t.Context(), Binary(c.t, "build/clients/"+client), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+c.Dir)
	cmd.Dir = c.Dir
	return cmd
}

// Try runs kubectl and answers what it printed on standard Output.
func (c *Cluster) Try(args ...string) (string, error) {
	return Output(c.Command("kubectl", args...))
}

// Output runs cmd and answers its standard output; an error tells the rest.
func Output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args[3:], " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Kubectl runs kubectl, which must succeed.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Apply sends a manifest through kubectl apply.
func (c *Cluster) Apply(t testing.TB, manifest string, args ...string) string {
	t.Helper()
	cmd := c.Command("kubectl", append([]string{"apply", "-f", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(manifest)
	out, err := Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// WaitFor repeats check every 100 ms until it answers nil.
func WaitFor(t testing.TB, what string, patience time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// ServeImages starts both registries inside the namespace: an open one with all
// images and one that wants user "deployer" with password "s3cret".
func (c *Cluster) ServeImages() {
	c.t.Helper()
	c.Open, c.Auth = &registry.Registry{}, &registry.Registry{User: "deployer", Password: "s3cret"}
	agent, err := images.Agent(c.t.Context(), c.Dir)
	if err != nil {
		c.t.Fatal(err)
	}
	set := map[string]ociimage.Image{"agent:v1": agent}
	for _, version := range []string{"v1", "v2"} {
		if set["python-app:"+version], err = images.Python(version); err != nil {
			c.t.Fatal(err)
		}
	}
	for name, image := range set {
		repository, tag, _ := strings.Cut(name, ":")
		if err := errors.Join(c.Open.Add(repository, tag, image), c.Auth.Add(repository, tag, image)); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, ns := range append([]*netns.Namespace{c.NS}, c.joined...) {
		c.serve(ns)
	}
}

// serve has the registries listen in a namespace.
func (c *Cluster) serve(ns *netns.Namespace) {
	for address, handler := range map[string]http.Handler{OpenRegistry: c.Open, AuthRegistry: c.Auth} {
		l, err := ns.Listen(c.t.Context(), "tcp", address)
		if err != nil {
			c.t.Fatal(err)
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l)
		}()
		c.t.Cleanup(func() {
			_ = server.Close()
			<-done
		})
	}
}

// HTTP answers an HTTP client whose connections start inside the namespace.
func (c *Cluster) HTTP() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: c.NS.Dial, DisableKeepAlives: true}}
}
