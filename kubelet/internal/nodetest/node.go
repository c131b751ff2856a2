package nodetest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skiff/kubelet/containerd"
	"skiff/kubelet/cri"
	"skiff/kubelet/internal/ociarchive"
)

// Names of the images that every node has.
const (
	PauseImage = "skiff.local/pause:test"
	BusyBox    = "skiff.local/busybox:test"
)

// cniConfig joins pods to a bridge of the test's own network namespace.
const cniConfig = `{"cniVersion":"1.0.0","name":"test","plugins":[
 {"type":"bridge","bridge":"skt0","isGateway":true,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"%DIR%/ipam","ranges":[[{"subnet":"10.99.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// Node is a running runtime.
type Node struct {
	Config  containerd.Config
	CRI     *cri.Client
	Server  *containerd.Server
	stop    context.CancelFunc
	stopped chan error
}

// Start runs a runtime until the test ends. It skips where there is no root.
func Start(t *testing.T) *Node {
	t.Helper()
	if !Isolated() {
		t.Skip("needs root")
	}
	bundle := bundleDir(t)
	dir, err := os.MkdirTemp("/tmp", "sk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	node := &Node{Config: containerd.Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "run"), Socket: filepath.Join(dir, "c.sock"),
		BinDir: bundle, CNIBinDir: bundle, CNIConfDir: filepath.Join(dir, "cni"),
		PauseImage: PauseImage, PauseArchive: filepath.Join(dir, "pause.tar"),
		RegistryConfigDir: filepath.Join(dir, "certs.d"),
	}}
	writePause(t, bundle, node.Config.PauseArchive)
	if err := os.MkdirAll(node.Config.CNIConfDir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeCNI(t, node.Config.CNIConfDir)
	node.Boot(t)
	client, err := cri.New(node.Config.Socket)
	if err != nil {
		t.Fatal(err)
	}
	node.CRI = client
	t.Cleanup(func() {
		node.removeAll(t)
		_ = client.Close()
		node.Halt(t)
	})
	node.Import(t, BusyBoxImage(t, BusyBox))
	return node
}

// Boot starts the runtime, after Start only following Halt.
func (n *Node) Boot(t *testing.T) {
	t.Helper()
	server, err := containerd.New(n.Config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	n.Server, n.stop, n.stopped = server, cancel, make(chan error, 1)
	go func() { n.stopped <- server.Run(ctx) }()
	select {
	case <-server.Ready():
	case err := <-n.stopped:
		t.Fatalf("the runtime ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the runtime is not ready after 30 s")
	}
}

// Halt ends the runtime and leaves its containers.
func (n *Node) Halt(t *testing.T) {
	t.Helper()
	n.stop()
	select {
	case err := <-n.stopped:
		if err != nil {
			t.Errorf("the runtime ended: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the runtime has not ended after 10 s")
	}
}

// Import brings an image into the node.
func (n *Node) Import(t *testing.T, image ociarchive.Image) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := ociarchive.Write(path, image); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Server.Import(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

func (n *Node) removeAll(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	sandboxes, err := n.CRI.Sandboxes(ctx, "")
	if err != nil {
		t.Errorf("listing what the test left: %v", err)
	}
	for _, sandbox := range sandboxes {
		n.remove(ctx, t, sandbox.ID)
	}
}

// remove ends a sandbox. A test may end while the runtime still starts a container, which can't be removed just then.
func (n *Node) remove(ctx context.Context, t *testing.T, id string) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := n.CRI.StopSandbox(ctx, id)
		if err == nil {
			err = n.CRI.RemoveSandbox(ctx, id)
		}
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Error(err)
			return
		}
	}
}

// BusyBoxImage is an image of Debian's static busybox with its applets in /bin.
func BusyBoxImage(t *testing.T, name string) ociarchive.Image {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs Debian's busybox-static: %v", err)
	}
	files := map[string]ociarchive.File{
		"bin/busybox": {Content: program, Mode: 0o755},
		"etc/passwd":  {Content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"), Mode: 0o644},
		"etc/group":   {Content: []byte("root:x:0:\nnogroup:x:65534:\n"), Mode: 0o644},
	}
	for _, applet := range []string{"sh", "sleep", "cat", "echo", "id", "ls", "env", "hostname", "httpd", "nc", "touch", "mkdir", "true", "false", "test", "ip", "kill", "trap", "wget", "head", "dd", "ps", "grep", "rm", "readlink", "date"} {
		files["bin/"+applet] = ociarchive.File{Link: "/bin/busybox"}
	}
	files["tmp/.keep"] = ociarchive.File{Mode: 0o644}
	return ociarchive.Image{Name: name, Files: files, Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}}
}

func writePause(t *testing.T, bundle, path string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(bundle, "pause"))
	if err != nil {
		t.Skipf("needs the runtime bundle (make bundle): %v", err)
	}
	image := ociarchive.Image{Name: PauseImage, Files: map[string]ociarchive.File{"pause": {Content: program, Mode: 0o755}}, Entrypoint: []string{"/pause"}, User: "65535:65535"}
	if err := ociarchive.Write(path, image); err != nil {
		t.Fatal(err)
	}
}

func writeCNI(t *testing.T, dir string) {
	t.Helper()
	config := []byte(strings.ReplaceAll(cniConfig, "%DIR%", dir))
	if err := os.WriteFile(filepath.Join(dir, "10-test.conflist"), config, 0o644); err != nil {
		t.Fatal(err)
	}
}

// bundleDir finds build/bundle at the module's root, which lies above the directory that a test runs in.
func bundleDir(t *testing.T) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(root, "go.mod")) {
		if root == filepath.Dir(root) {
			t.Fatal("the test does not run inside the module")
		}
		root = filepath.Dir(root)
	}
	dir := filepath.Join(root, "build", "bundle")
	for _, name := range []string{"runc", "containerd-shim-runc-v2", "bridge", "host-local", "pause"} {
		if !exists(filepath.Join(dir, name)) {
			t.Fatalf("the runtime bundle lacks %s: run `make bundle` first", name)
		}
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
