package volumes

import (
	"testing"

	"golang.org/x/sys/unix"

	"skiff/kubelet/internal/mounttest"
)

// TestMain runs the tests in a mount namespace of their own.
func TestMain(m *testing.M) { mounttest.Main(m) }

// cleanMounts unmounts whatever a failed test left, before its directory is removed.
func cleanMounts(t *testing.T, dir string) {
	t.Helper()
	t.Cleanup(func() {
		points, err := mountsBelow(dir)
		if err != nil {
			t.Errorf("listing mounts left: %v", err)
		}
		for _, point := range points {
			_ = unix.Unmount(point, unix.MNT_DETACH)
		}
	})
}
