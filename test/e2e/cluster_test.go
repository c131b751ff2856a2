package e2e

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

	"skiff/internal/ociimage"
	"skiff/test/images"
	"skiff/test/netns"
	"skiff/test/registry"
)

const (
	nodeIP       = "192.0.2.10"
	openRegistry = "127.0.0.1:5000"
	authRegistry = "127.0.0.1:5001"
)

// cluster is one skiff server with its node in a network namespace of its own.
type cluster struct {
	t          testing.TB
	ns         *netns.Namespace
	dir        string
	kubeconfig string
	flags      []string
	server     *exec.Cmd
	ended      chan struct{}
	open, auth *registry.Registry
}

// binary answers the path of something that make built.
func binary(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatalf("%v: run `make build clients` first", err)
	}
	return abs
}

// newCluster makes the namespace and the directories of a cluster and arranges
// that no trace of it stays; start runs its server.
func newCluster(t testing.TB, flags ...string) *cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running containers needs root")
	}
	dir, err := os.MkdirTemp("", "skiff-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig"), ns: netns.New(t, nodeIP+"/24")}
	c.flags = append([]string{
		"--config=" + filepath.Join(dir, "config.yaml"), "--data-dir=" + filepath.Join(dir, "data"),
		"--kubeconfig=" + c.kubeconfig, "--node-name=node-1",
	}, flags...)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("v: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	return c
}

func (c *cluster) remove() {
	c.stop(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	if out, err := c.ns.Command(ctx, binary(c.t, "bin/skiff"), append([]string{"clean"}, c.flags...)...).CombinedOutput(); err != nil {
		c.t.Errorf("skiff clean: %v\n%s", err, out)
	}
	if c.t.Failed() {
		c.t.Logf("the server's log is kept: %s", c.logFile())
		return
	}
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) logFile() string { return filepath.Join(c.dir, "server.log") }

// start runs the server and waits for its node.
func (c *cluster) start() {
	c.t.Helper()
	c.launch()
	c.wait("the node to be Ready", time.Minute, func() error {
		out, err := c.try("get", "node", "node-1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("Ready is %q", out)
		}
		return err
	})
}

func (c *cluster) launch() {
	c.t.Helper()
	log, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := c.ns.Command(context.WithoutCancel(c.t.Context()), binary(c.t, "bin/skiff"), append([]string{"server"}, c.flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	c.server, c.ended = cmd, ended
}

// stop signals the server, waits for its end and answers how long that took.
func (c *cluster) stop(signal syscall.Signal) time.Duration {
	if c.server == nil {
		return 0
	}
	began := time.Now()
	_ = c.server.Process.Signal(signal)
	select {
	case <-c.ended:
	case <-time.After(20 * time.Second):
		c.t.Errorf("the server did not end on %s", signal)
		_ = c.server.Process.Kill()
		<-c.ended
	}
	c.server = nil
	return time.Since(began)
}

// command prepares an unmodified client inside the cluster's namespace.
func (c *cluster) command(client string, args ...string) *exec.Cmd {
	cmd := c.ns.Command(c.t.Context(), binary(c.t, "build/clients/"+client), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "HOME="+c.dir)
	cmd.Dir = c.dir
	return cmd
}

// try runs kubectl and answers what it printed on standard output.
func (c *cluster) try(args ...string) (string, error) {
	return output(c.command("kubectl", args...))
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args[3:], " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// kubectl runs kubectl, which must succeed.
func (c *cluster) kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply sends a manifest through kubectl apply.
func (c *cluster) apply(t testing.TB, manifest string, args ...string) string {
	t.Helper()
	cmd := c.command("kubectl", append([]string{"apply", "-f", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(manifest)
	out, err := output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wait repeats check every 100 ms until it answers nil.
func (c *cluster) wait(what string, patience time.Duration, check func() error) {
	c.t.Helper()
	waitFor(c.t, what, patience, check)
}

func waitFor(t testing.TB, what string, patience time.Duration, check func() error) {
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

// serveImages starts both registries inside the namespace: an open one with all
// images and one that wants user "deployer" with password "s3cret".
func (c *cluster) serveImages() {
	c.t.Helper()
	c.open, c.auth = &registry.Registry{}, &registry.Registry{User: "deployer", Password: "s3cret"}
	agent, err := images.Agent(c.t.Context(), c.dir)
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
		if err := errors.Join(c.open.Add(repository, tag, image), c.auth.Add(repository, tag, image)); err != nil {
			c.t.Fatal(err)
		}
	}
	for address, handler := range map[string]http.Handler{openRegistry: c.open, authRegistry: c.auth} {
		l, err := c.ns.Listen(c.t.Context(), "tcp", address)
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

// client answers an HTTP client whose connections start inside the namespace.
func (c *cluster) client() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: c.ns.Dial, DisableKeepAlives: true}}
}
