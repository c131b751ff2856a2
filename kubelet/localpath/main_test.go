package localpath

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"skiff/kubelet/internal/mounttest"
)

// TestMain runs the tests in a mount namespace of their own.
func TestMain(m *testing.M) { mounttest.Main(m) }

// bindMount mounts source at target until the test ends, or the answered function is called.
func bindMount(t *testing.T, source, target string) (unmount func()) {
	t.Helper()
	mounttest.Need(t)
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmount = func() { _ = unix.Unmount(target, unix.MNT_DETACH) }
	t.Cleanup(unmount)
	return unmount
}
