// Package mounttest runs a package's tests in a mount namespace of their own, so that even a killed test leaves no mount
// on the host.
package mounttest

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

const isolated = "SKIFF_MOUNTTEST_ISOLATED"

// Main is a package's TestMain: it runs the tests in a new mount namespace, or where they are without root, and fails
// when they leave goroutines.
func Main(m *testing.M) {
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

// Need skips a test that mounts when it may not.
func Need(t *testing.T) {
	t.Helper()
	if os.Getenv(isolated) == "" {
		t.Skip("mounting needs root")
	}
}
