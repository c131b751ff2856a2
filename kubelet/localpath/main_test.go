package localpath

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

const isolated = "SKIFF_LOCALPATH_TEST_ISOLATED"

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

// bindMount mounts source at target until the test ends, or the answered function is called.
func bindMount(t *testing.T, source, target string) (unmount func()) {
	t.Helper()
	if os.Getenv(isolated) == "" {
		t.Skip("mounting needs root")
	}
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
