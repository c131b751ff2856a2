// Package teardown removes what pods leave on a host once their server is gone
// for good: processes, mounts, cgroups and network namespaces.
//
// Nothing is found by a program's name. Processes are those in the instance's
// cgroups and the shims that were told the instance's containerd socket; mounts
// are those below the instance's directories.
package teardown

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
)

// Config names what belongs to the instance.
type Config struct {
	Socket       string   // containerd's socket, as shims were told it
	CgroupParent string   // name of the pods' cgroup, e.g. kubepods-skiff
	Dirs         []string // directories whose mounts and content go
}

// patience bounds the wait for killed processes and for cgroups to empty.
const patience = 10 * time.Second

// Run removes everything that c names. It is idempotent; what could not be
// removed is reported together, after the rest has been.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := []error{c.kill(ctx)}
	errs = append(errs, unmountBelow(c.Dirs), c.removeCgroups(ctx))
	for _, dir := range c.Dirs {
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, fmt.Errorf("removing %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// kill ends the shims first, so that none reports or restarts anything, and
// then the containers, until no process of either is left.
func (c Config) kill(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		pids, err := c.processes()
		if err != nil {
			return false, fmt.Errorf("finding processes: %w", err)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("ending process %d: %w", pid, err)
			}
		}
		return len(pids) == 0, nil
	})
}

func (c Config) processes() ([]int, error) {
	pids, err := c.shims()
	if err != nil {
		return nil, err
	}
	for _, root := range c.cgroups() {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return ignoreGone(err)
			}
			raw, err := os.ReadFile(path)
			for word := range strings.FieldsSeq(string(raw)) {
				if pid, err := strconv.Atoi(word); err == nil && pid > 1 && !zombie(pid) {
					pids = append(pids, pid)
				}
			}
			return ignoreGone(err)
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// shims finds the processes that were started with "-address <socket>".
func (c Config) shims() ([]int, error) {
	if c.Socket == "" {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it ended meanwhile
		}
		args := strings.Split(string(raw), "\x00")
		if i := slices.Index(args, "-address"); i >= 0 && i+1 < len(args) && args[i+1] == c.Socket {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// cgroups answers the instance's cgroup in every hierarchy (version 1) or in
// the one there is (version 2).
func (c Config) cgroups() []string {
	if c.CgroupParent == "" {
		return nil
	}
	var roots []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, err := filepath.Glob(filepath.Join(pattern, c.CgroupParent))
		if err == nil {
			roots = append(roots, found...)
		}
	}
	return roots
}

// removeCgroups removes the trees from the leaves up; the kernel needs a moment
// after the last process has gone.
func (c Config) removeCgroups(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		var last error
		for _, root := range c.cgroups() {
			var dirs []string
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return ignoreGone(err)
			})
			if err != nil {
				return false, fmt.Errorf("removing cgroups: %w", err)
			}
			for _, dir := range slices.Backward(dirs) {
				if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
					last = err
				}
			}
		}
		return last == nil, nil
	})
}

func unmountBelow(dirs []string) error {
	var errs []error
	mounts, err := mountutils.New("").List()
	if err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	for _, m := range slices.Backward(mounts) {
		if !below(m.Path, dirs) {
			continue
		}
		if err := unix.Unmount(m.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", m.Path, err))
		}
	}
	return errors.Join(errs...)
}

func below(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	})
}

func zombie(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return strings.HasPrefix(rest, "Z")
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// until repeats try every 20 ms while it answers false, at most until ctx ends.
func until(ctx context.Context, try func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", patience, ctx.Err())
		case <-tick.C:
		}
	}
}
