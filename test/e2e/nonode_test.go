package e2e

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

	"skiff/test/cluster"
)

// TestNoNode runs the control plane alone with simulated nodes, as a user
// without privileges would, on loopback.
func TestNoNode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	t.Parallel()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "skiff-nonode-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := copyProgram(t, dir)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	server := exec.CommandContext(context.WithoutCancel(t.Context()), program, "server", "--config=/dev/null", "--no-node", "--simulated-nodes=3", "--merge-kubeconfig",
		"--bind-address=127.0.0.1", "--port=0", "--data-dir="+filepath.Join(dir, "data"), "--kubeconfig="+kubeconfig)
	server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	server.Env = append(os.Environ(), "HOME="+dir)
	var log lockedBuffer
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	kubectl := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), cluster.Binary(t, "build/clients/kubectl"), args...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "KUBECONFIG=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	await := func(want string, args ...string) {
		t.Helper()
		cluster.WaitFor(t, want, 30*time.Second, func() error {
			if out, err := kubectl(args...); err != nil || out != want {
				return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
			}
			return nil
		})
	}
	await("True True True", "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if out, err := kubectl("create", "deployment", "web", "--image=example.test/web:1", "--replicas=9"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	await("9", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	for _, file := range []string{kubeconfig, filepath.Join(dir, ".kube", "config")} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}
