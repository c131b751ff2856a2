package cri_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"skiff/kubelet/cri"
	"skiff/kubelet/internal/nodetest"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }

func TestContainerLife(t *testing.T) {
	node := nodetest.Start(t)
	ctx := t.Context()
	begin := time.Now()
	config := &cri.SandboxConfig{
		Metadata:     &cri.SandboxMetadata{Name: "p", Namespace: "default", Uid: "u1"},
		LogDirectory: t.TempDir(), Hostname: "p", Labels: map[string]string{cri.LabelPodUID: "u1"},
		Linux: &cri.LinuxSandboxConfig{CgroupParent: nodetest.CgroupRoot(), SecurityContext: &cri.LinuxSandboxSecurity{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceContainer}}},
	}
	sandbox, err := node.CRI.RunSandbox(ctx, config, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("sandbox %v", time.Since(begin))
	begin = time.Now()
	id, err := node.CRI.CreateContainer(ctx, sandbox, &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c"}, Image: &cri.ImageSpec{Image: nodetest.BusyBox}, Labels: map[string]string{cri.LabelPodUID: "u1"},
		Command: []string{"/bin/sh", "-c", "trap 'exit 3' TERM; while true; do sleep 0.1; done"}, LogPath: "c/0.log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurity{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceContainer}}},
	}, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("create %v", time.Since(begin))
	begin = time.Now()
	if err := node.CRI.StartContainer(ctx, id); err != nil {
		t.Fatal(err)
	}
	t.Logf("start %v", time.Since(begin))
	found, err := node.CRI.Sandbox(ctx, sandbox)
	if err != nil || !found.Ready || len(found.IPs) != 1 || !strings.HasPrefix(found.IPs[0], "10.99.0.") {
		t.Fatalf("sandbox %+v, %v", found, err)
	}
	out, _, code, err := node.CRI.ExecSync(ctx, id, []string{"hostname"}, 5*time.Second)
	if err != nil || code != 0 || strings.TrimSpace(string(out)) != "p" {
		t.Fatalf("exec: %q %d %v", out, code, err)
	}
	node.Halt(t)
	node.Boot(t)
	again, err := node.CRI.Container(ctx, id)
	if err != nil || again.State != cri.Running {
		t.Fatalf("after the runtime's restart: %+v %v", again, err)
	}
	if err := node.CRI.StopContainer(ctx, id, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	ended, err := node.CRI.Container(ctx, id)
	if err != nil || ended.State != cri.Exited || ended.ExitCode != 3 {
		t.Fatalf("after stop: %+v %v", ended, err)
	}
}
