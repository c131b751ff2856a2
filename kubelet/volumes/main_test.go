package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const isolated = "SKIFF_VOLUMES_TEST_ISOLATED"

// TestMain runs the tests in a mount namespace of their own, so that even a killed test leaves no mount on the host.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(isolated) != "" {
		goleak.VerifyTestMain(m)
		return
	}
	again := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.Env = append(os.Environ(), isolated+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := again.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "running the tests in their mount namespace:", err)
		os.Exit(1)
	}
}

// needsRoot skips tests that mount when they may not.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(isolated) == "" {
		t.Skip("mounting needs root")
	}
}

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
