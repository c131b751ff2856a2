package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const subpathsDir = "volume-subpaths"

// Below a volume a path may lead through symbolic links as long as it stays below. The kernel checks that while it
// resolves, so a container that swaps a directory for a link in the meantime gains nothing.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS

// Subpath binds subPath of a volume to a place of its own and answers that place. Whatever of subPath is missing is
// created as directories. A path that leaves the volume, by .. or by a link, is refused. Asked again, it answers the
// same place, bound anew if the path means another file by then.
func (m *Manager) Subpath(ctx context.Context, pod *corev1.Pod, container string, index int, volumePath, subPath string) (string, error) {
	t := m.track(pod)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	name := mountName(pod, container, index)
	place := filepath.Join(m.podDir(pod.UID), subpathsDir, name, container, strconv.Itoa(index))
	if err := bindSubpath(volumePath, subPath, place); err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", name, container, err)
	}
	return place, nil
}

// mountName is the volume that a container's mount of that index names.
func mountName(pod *corev1.Pod, container string, index int) string {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == container && index >= 0 && index < len(list[i].VolumeMounts) {
				return list[i].VolumeMounts[index].Name
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		if c.Name == container && index >= 0 && index < len(c.VolumeMounts) {
			return c.VolumeMounts[index].Name
		}
	}
	return "unknown"
}

func bindSubpath(volumePath, subPath, place string) error {
	source, err := openBeneath(volumePath, subPath)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if same, err := alreadyBound(source, place); same || err != nil {
		return err
	}
	if err := makePlace(source, place); err != nil {
		return err
	}
	return bind(fmt.Sprintf("/proc/self/fd/%d", source.Fd()), place, false)
}

// openBeneath opens subPath below root as a path-only descriptor, creating missing directories with root's mode.
func openBeneath(root, subPath string) (*os.File, error) {
	dir, err := openAt(unix.AT_FDCWD, root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("volume %s is a file, it has no subpath", root)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	clean := filepath.Clean(subPath)
	if filepath.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return nil, fmt.Errorf("subpath %q not within volume path %q", subPath, root)
	}
	found, err := openAt(int(dir.Fd()), clean, unix.O_PATH, beneath)
	if errors.Is(err, unix.ENOENT) {
		found, err = createBeneath(dir, clean)
	}
	if errors.Is(err, unix.EXDEV) {
		return nil, fmt.Errorf("subpath %q not within volume path %q", subPath, root)
	}
	return found, err
}

// createBeneath makes the missing directories of a path, one after the other, each in the directory opened before.
func createBeneath(root *os.File, path string) (*os.File, error) {
	info, err := root.Stat()
	if err != nil {
		return nil, fmt.Errorf("examining a volume: %w", err)
	}
	elements := strings.Split(path, "/")
	current, err := openAt(int(root.Fd()), ".", unix.O_PATH|unix.O_DIRECTORY, beneath)
	if err != nil {
		return nil, err
	}
	for i := range elements {
		next, err := stepInto(root, current, elements[:i+1], uint32(info.Mode().Perm()))
		_ = current.Close()
		if err != nil {
			return nil, err
		}
		current = next
	}
	return current, nil
}

// stepInto opens the directory at path below root, whose parent is open already, making it if there is nothing.
func stepInto(root, parent *os.File, path []string, mode uint32) (*os.File, error) {
	// Resolved from the root, so that links in the path may point anywhere below it.
	next, err := openAt(int(root.Fd()), strings.Join(path, "/"), unix.O_PATH|unix.O_DIRECTORY, beneath)
	if !errors.Is(err, unix.ENOENT) {
		return next, err
	}
	name := path[len(path)-1]
	if err := unix.Mkdirat(int(parent.Fd()), name, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdirat", Path: strings.Join(path, "/"), Err: err}
	}
	made, err := openAt(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, beneath)
	if err != nil {
		return nil, err
	}
	// The umask may have taken bits away.
	if err := made.Chmod(os.FileMode(mode)); err != nil {
		_ = made.Close()
		return nil, err
	}
	return made, nil
}

func openAt(dir int, path string, flags, resolve uint64) (*os.File, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// alreadyBound says whether place shows the very file that source is. If it shows another, that is unmounted.
func alreadyBound(source *os.File, place string) (bool, error) {
	mounted, err := isMount(place)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil || !mounted {
		return false, err
	}
	want, err := source.Stat()
	if err != nil {
		return false, fmt.Errorf("examining a subpath: %w", err)
	}
	have, err := os.Lstat(place)
	if err == nil && os.SameFile(want, have) {
		return true, nil
	}
	return false, unmount(place)
}

// makePlace makes what source can be bound over: a directory or an empty file.
func makePlace(source *os.File, place string) error {
	info, err := source.Stat()
	if err != nil {
		return fmt.Errorf("examining a subpath: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o750); err != nil {
		return fmt.Errorf("making a place for a subpath: %w", err)
	}
	// It may be left from a time when the path was of the other sort.
	if err := remove(place); err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(place, 0o750)
	} else {
		err = os.WriteFile(place, nil, 0o640)
	}
	if err != nil {
		return fmt.Errorf("making a place for a subpath: %w", err)
	}
	return nil
}
