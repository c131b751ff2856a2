// Package cgroupfs makes the host's cgroup hierarchies visible where a server
// starts without them, as below `ip netns exec`, which mounts a bare /sys.
package cgroupfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is where cgroup hierarchies are mounted.
const Root = "/sys/fs/cgroup"

// Mount is one file system to mount below Root; its directory is relative.
type Mount struct {
	Dir, Type, Options string
}

// Ensure mounts the hierarchies that the kernel has when none are mounted. A
// mount namespace of the caller's own keeps these mounts to itself.
func Ensure() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(Root, &fs); err != nil {
		return fmt.Errorf("looking for cgroups at %s: %w: the kernel needs CONFIG_CGROUPS", Root, err)
	}
	if fs.Type != unix.SYSFS_MAGIC {
		return nil
	}
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("reading cgroup hierarchies: %w", err)
	}
	defer own.Close()
	mounts, err := Plan(own)
	if err != nil {
		return fmt.Errorf("reading cgroup hierarchies: %w", err)
	}
	for _, m := range mounts {
		if err := m.apply(); err != nil {
			return fmt.Errorf("mounting cgroups at %s: %w", filepath.Join(Root, m.Dir), err)
		}
	}
	return nil
}

// Plan reads /proc/self/cgroup (cgroups(7)) and answers what to mount, in
// order: cgroup2 alone on a host with one hierarchy, else a tmpfs with a
// directory for each version 1 hierarchy, and version 2 at "unified".
func Plan(own io.Reader) ([]Mount, error) {
	var v1 []Mount
	unified := false
	lines := bufio.NewScanner(own)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %q is not id:controllers:path", lines.Text())
		}
		controllers := fields[1]
		if controllers == "" {
			unified = true
			continue
		}
		m := Mount{Dir: controllers, Type: "cgroup", Options: controllers}
		if name, ok := strings.CutPrefix(controllers, "name="); ok {
			m.Dir, m.Options = name, "none,"+controllers
		}
		v1 = append(v1, m)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	switch {
	case len(v1) == 0 && !unified:
		return nil, errors.New("the kernel has no cgroup hierarchy")
	case len(v1) == 0:
		return []Mount{{Type: "cgroup2"}}, nil
	}
	mounts := append([]Mount{{Type: "tmpfs", Options: "mode=755"}}, v1...)
	if unified {
		mounts = append(mounts, Mount{Dir: "unified", Type: "cgroup2"})
	}
	return mounts, nil
}

func (m Mount) apply() error {
	target := filepath.Join(Root, m.Dir)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return unix.Mount(m.Type, target, m.Type, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, m.Options)
}
