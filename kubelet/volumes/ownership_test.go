package volumes

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"skiff/kubelet/internal/mounttest"
)

// TestOwnershipLeavesNoVolume is of a pod that swaps what is being given to a group for links to the host's files.
func TestOwnershipLeavesNoVolume(t *testing.T) {
	t.Parallel()
	mounttest.Need(t) // giving files away needs root too
	host, volume := t.TempDir(), t.TempDir()
	secret := filepath.Join(host, "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(host, filepath.Join(volume, "dir")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(volume, "file")); err != nil {
		t.Fatal(err)
	}
	root, err := openAt(unix.AT_FDCWD, volume, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if err := ownBelow(root, "dir/secret", 4321, groupWrites); err == nil {
		t.Error("a directory that became a link was followed")
	}
	if err := ownBelow(root, "file", 4321, groupWrites); err != nil {
		t.Errorf("a link can't change hands: %v", err)
	}
	if err := ownTree(volume, 4321, false); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(secret)
	if err != nil || info.Mode().Perm() != 0o600 || groupOf(info) == 4321 {
		t.Errorf("the host's file is %v of group %d (%v)", info.Mode(), groupOf(info), err)
	}
	if info, err = os.Lstat(filepath.Join(volume, "file")); err != nil || groupOf(info) != 4321 {
		t.Errorf("the link stayed with its group (%v)", err)
	}
	if info, err = os.Lstat(volume); err != nil || groupOf(info) != 4321 || info.Mode()&fs.ModeSetgid == 0 {
		t.Errorf("the volume is %v (%v)", info.Mode(), err)
	}
}

func groupOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Gid }
