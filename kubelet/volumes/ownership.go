package volumes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// What a pod's fsGroup adds to the mode of what it owns: the group may read (and write) everything, enter directories,
// and what is created below belongs to the group again.
const (
	groupReads  fs.FileMode = 0o440
	groupWrites fs.FileMode = 0o660
	groupEnters fs.FileMode = 0o110
)

// fsGroupOf answers the group that owns the pod's volumes, if it asks for one.
func fsGroupOf(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// skipsMatchingRoot says whether a volume whose root is already right is left alone.
func skipsMatchingRoot(pod *corev1.Pod) bool {
	sc := pod.Spec.SecurityContext
	return sc != nil && sc.FSGroupChangePolicy != nil && *sc.FSGroupChangePolicy == corev1.FSGroupChangeOnRootMismatch
}

// fsUserOf answers the one user all containers of the pod run as, or nil if they differ or one does not say.
func fsUserOf(pod *corev1.Pod) *int64 {
	var user *int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			runAs := runAsUser(pod, &list[i])
			if runAs == nil || user != nil && *user != *runAs {
				return nil
			}
			user = runAs
		}
	}
	return user
}

func runAsUser(pod *corev1.Pod, c *corev1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.RunAsUser
	}
	return nil
}

// ownTree gives a directory and all below it to group. With onMismatch it does nothing if the root already is right.
func ownTree(root string, group int64, onMismatch bool) error {
	if onMismatch {
		if right, err := isOwned(root, group); right || err != nil {
			return err
		}
	}
	dir, err := openAt(unix.AT_FDCWD, root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("giving %s to group %d: %w", root, group, err)
	}
	defer func() { _ = dir.Close() }()
	// The root comes last, so that an interrupted walk is seen by the next.
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return ownBelow(dir, below, group, groupWrites)
	})
	if err == nil {
		err = ownBelow(dir, ".", group, groupWrites)
	}
	if err != nil {
		return fmt.Errorf("giving %s to group %d: %w", root, group, err)
	}
	return nil
}

// ownBelow is own for a file below root, which other pods may be writing to meanwhile: it is opened,
// through no link, and only then examined and changed, so that a link put in its way leads nowhere.
func ownBelow(root *os.File, path string, group int64, access fs.FileMode) error {
	file, err := openAt(int(root.Fd()), path, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := unix.Fchownat(int(file.Fd()), "", -1, int(group), unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "fchownat", Path: path, Err: err}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), groupMode(info.Mode(), access))
}

// own gives one file or directory to group and adds the group's permissions. Symbolic links only change hands.
func own(path string, group int64, access fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := os.Lchown(path, -1, int(group)); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return os.Chmod(path, groupMode(info.Mode(), access))
}

// groupMode is mode with what a group's ownership adds.
func groupMode(mode, access fs.FileMode) fs.FileMode {
	added := mode | access
	if mode.IsDir() {
		added |= fs.ModeSetgid | groupEnters
	}
	return added
}

func isOwned(root string, group int64) (bool, error) {
	info, err := os.Lstat(root)
	if err != nil {
		return false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(st.Gid) == group && groupMode(info.Mode(), groupWrites) == info.Mode(), nil
}
