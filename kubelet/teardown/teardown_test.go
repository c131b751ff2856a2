package teardown

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start runs a process that nothing else would end.
func start(t *testing.T, name string, args ...string) (pid int, ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return cmd.Process.Pid, done
}

func TestRunRemovesProcessesMountsAndCgroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := "skiff-teardown-" + strconv.Itoa(os.Getpid())
	hierarchies, err := filepath.Glob("/sys/fs/cgroup/pids")
	if err != nil || len(hierarchies) == 0 {
		hierarchies = []string{"/sys/fs/cgroup"}
	}
	group := filepath.Join(hierarchies[0], name, "pod")
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(group); _ = os.Remove(filepath.Dir(group)) })
	pid, ended := start(t, "sleep", "60")
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "c.sock")
	_, shimEnded := start(t, "sh", "-c", "sleep 60; true", "shim", "-address", socket)
	_, otherRuns := start(t, "sh", "-c", "sleep 60; true", "shim", "-address", socket+".other")

	mount := filepath.Join(dir, "data", "mount")
	if err := os.MkdirAll(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", mount, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })

	c := Config{Socket: socket, CgroupParent: name, Dirs: []string{filepath.Join(dir, "data")}}
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for what, channel := range map[string]<-chan struct{}{"process in the cgroup": ended, "shim": shimEnded} {
		select {
		case <-channel:
		case <-time.After(5 * time.Second):
			t.Errorf("the %s still runs", what)
		}
	}
	select {
	case <-otherRuns:
		t.Error("another instance's shim was ended")
	default:
	}
	for _, path := range []string{group, filepath.Dir(group), filepath.Join(dir, "data")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
	if err := Run(t.Context(), c); err != nil {
		t.Errorf("second run: %v", err)
	}
}

func TestBelow(t *testing.T) {
	dirs := []string{"/var/lib/skiff", "/run/skiff/"}
	for path, want := range map[string]bool{
		"/var/lib/skiff": true, "/var/lib/skiff/a/b": true, "/run/skiff/x": true,
		"/var/lib/skiff-2": false, "/var/lib": false, "/run/skiffer/x": false,
	} {
		if got := below(path, dirs); got != want {
			t.Errorf("below(%q) = %v", path, got)
		}
	}
}
