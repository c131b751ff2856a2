// Package nodetest gives tests a real container runtime in namespaces of its own: network (with no way out), mounts and
// processes. When the test binary ends, the kernel ends every process, mount and interface that it made; cgroups are removed.
package nodetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const marker = "SKIFF_NODETEST_ISOLATED"

// Isolated reports whether the test runs in namespaces of its own, as Main arranges for root.
func Isolated() bool { return os.Getenv(marker) != "" }

// Main runs the package's tests inside new namespaces; without root it runs them where they are, and Start skips.
func Main(m *testing.M) int {
	quiet()
	if Isolated() {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "setting up the test's namespaces:", err)
			return 1
		}
		return m.Run()
	}
	if os.Geteuid() != 0 {
		return m.Run()
	}
	return again()
}

// again runs this binary once more, as the first process of new namespaces.
func again() int {
	name := fmt.Sprintf("skifftest-%d", os.Getpid())
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), marker+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	err := cmd.Run()
	removeCgroups(name)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	fmt.Fprintln(os.Stderr, "running the tests in their namespaces:", err)
	return 1
}

func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting proc: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// CgroupRoot is a cgroup parent that nobody else uses; it is removed when the test binary ends.
func CgroupRoot() string { return "/" + os.Getenv(marker) }

// removeCgroups removes the tree of a name from every hierarchy, leaves first.
func removeCgroups(name string) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return
	}
	roots = append(roots, "/sys/fs/cgroup/"+name)
	for _, root := range roots {
		var dirs []string
		if err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		}); err != nil {
			continue
		}
		sort.Slice(dirs, func(i, j int) bool { return strings.Count(dirs[i], "/") > strings.Count(dirs[j], "/") })
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				fmt.Fprintln(os.Stderr, "removing a test's cgroup:", err)
			}
		}
	}
}
