package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"skiff/test/cluster"
	"skiff/test/netns"
)

// TestBadInput starts the server with what it can't use. Each time it must end
// with exit code 1 and one line that names the culprit and the way out, and
// leave the disk as it was.
func TestBadInput(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("entering a network namespace needs root")
	}
	t.Parallel()
	ns := netns.New(t, cluster.NodeIP+"/24")
	busy, err := ns.Listen(t.Context(), "tcp", "0.0.0.0:6443")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := []struct {
		name  string
		files map[string]string // below the test's directory
		flags []string
		user  uint32
		lacks string // a capability
		want  []string
	}{
		{name: "unknown key", files: map[string]string{"c.yaml": "prot: 1\n"}, want: []string{"c.yaml:1", `"prot"`, `"port"`}},
		{name: "wrong type", files: map[string]string{"c.yaml": "\nport: many\n"}, want: []string{"c.yaml:2", "port", `"many"`}},
		{name: "not YAML", files: map[string]string{"c.yaml": "a: [\n"}, want: []string{"c.yaml", "mend"}},
		{name: "no such file", want: []string{"c.yaml", "no such file", "--config"}},
		{name: "overlapping ranges", files: map[string]string{"c.yaml": "service-cidr: 10.244.0.0/24\n"}, want: []string{"service-cidr", "overlaps"}},
		{name: "unknown flag", files: map[string]string{"c.yaml": ""}, flags: []string{"--prot=1"}, want: []string{"--prot", "--help"}},
		{name: "taken port", files: map[string]string{"c.yaml": ""}, flags: []string{"--no-node"}, want: []string{"6443", "--port"}},
		{name: "taken kubelet port", files: map[string]string{"c.yaml": "port: 0\nkubelet-port: 6443\n"}, want: []string{"kubelet-port", "6443", "in use", "--kubelet-port"}},
		{name: "half a client certificate", files: map[string]string{"c.yaml": "etcd-certfile: /x\n"}, want: []string{"etcd-certfile", "etcd-keyfile"}},
		{name: "no such address", files: map[string]string{"c.yaml": "bind-address: 198.51.100.7\n"}, want: []string{"bind-address", "198.51.100.7", "not an address"}},
		{name: "a file for a directory", files: map[string]string{"c.yaml": "port: 0\n", "data": ""}, want: []string{"data-dir", "not a directory"}},
		{name: "no capability", files: map[string]string{"c.yaml": "port: 0\n"}, lacks: "net_admin", want: []string{"CAP_NET_ADMIN", "privileged", "--no-node"}},
		{name: "no privilege", files: map[string]string{"c.yaml": "port: 0\n"}, user: 65534, want: []string{"root", "--no-node"}},
		{name: "newer data", files: map[string]string{"c.yaml": "port: 0\nno-node: true\n", "data/format": "99\n"}, want: []string{"data", "newer", "99"}},
		{name: "corrupt PKI", files: map[string]string{"c.yaml": "port: 0\nno-node: true\n", "data/pki/ca.crt": "rubbish", "data/pki/ca.key": "rubbish"}, want: []string{"pki/ca.crt"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "skiff-input-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			for name, content := range tc.files {
				path := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644), os.Chmod(dir, 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			before := listing(t, dir)
			flags := append([]string{"server", "--config=" + dir + "/c.yaml", "--data-dir=" + dir + "/data", "--kubeconfig=" + dir + "/kubeconfig"}, tc.flags...)
			cmd := ns.Command(t.Context(), cluster.Binary(t, "bin/skiff"), flags...)
			if tc.lacks != "" {
				cmd = ns.Command(t.Context(), "setpriv", append([]string{"--bounding-set=-" + tc.lacks, "--inh-caps=-" + tc.lacks, cluster.Binary(t, "bin/skiff")}, flags...)...)
			}
			if tc.user != 0 { // nsenter needs root itself; this refusal does not depend on the namespace
				program := copyProgram(t, dir)
				before = listing(t, dir)
				cmd = exec.CommandContext(t.Context(), program, flags...)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tc.user, Gid: tc.user}}
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err = cmd.Run()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit code 1", err)
			}
			said := strings.TrimSuffix(stderr.String(), "\n")
			if strings.Contains(said, "\n") {
				t.Errorf("more than one line:\n%s", said)
			}
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q does not mention %q", said, want)
				}
			}
			if after := listing(t, dir); after != before {
				t.Errorf("the disk changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// copyProgram puts skiff where any user may run it.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "skiff")
	if out, err := exec.CommandContext(t.Context(), "cp", cluster.Binary(t, "bin/skiff"), program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", dir, "-printf", "%p %s %m %T@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
