package images

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"skiff/internal/ociimage"
)

// TestPythonRuns unpacks the image and runs its program with chroot, so that a
// missing library shows here and not in a pod.
func TestPythonRuns(t *testing.T) {
	image, err := Python("v1")
	if err != nil {
		t.Fatal(err)
	}
	root := unpack(t, image)
	cmd := exec.CommandContext(t.Context(), "chroot", root, "/usr/bin/python3", "-S", "-c", "import http.server, socket, json, ssl; print('fine')")
	cmd.Env = image.Env
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Equal(bytes.TrimSpace(out), []byte("fine")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestAgentRuns(t *testing.T) {
	image, err := Agent(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := unpack(t, image)
	if out, err := exec.CommandContext(t.Context(), "chroot", root, "/bin/sh", "-c", "agent lookup 127.0.0.1").CombinedOutput(); err != nil || !bytes.Equal(bytes.TrimSpace(out), []byte("127.0.0.1")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func unpack(t *testing.T, image ociimage.Image) string {
	t.Helper()
	blobs, err := image.Blobs()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `mkdir "$0" && tar -xz -C "$0"`, root)
	cmd.Stdin = bytes.NewReader(blobs[0].Data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return root
}
