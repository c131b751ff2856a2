package localpath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	mountutils "k8s.io/mount-utils"
)

const name = "pvc-0b5c7a52-8f3b-4e0e-9c55-1f2f8a3b6c11"

// disk is a root with one volume, in which a file and a directory are.
func disk(t *testing.T) *Directory {
	t.Helper()
	d := &Directory{Root: filepath.Join(t.TempDir(), "volumes")}
	if err := d.Make(name); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d.Path(name), "deep", "mark"))
	return d
}

func write(t *testing.T, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestMake(t *testing.T) {
	d := disk(t)
	if err := d.Make(name); err != nil || !exists(t, filepath.Join(d.Path(name), "deep", "mark")) {
		t.Errorf("made again: %v", err)
	}
	for path, want := range map[string]fs.FileMode{d.Root: 0o700, d.Path(name): 0o777} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if err := os.WriteFile(d.Path("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"..", ".", "", "../x", "a/b", "/etc", removing + "x", "file"} {
		if err := d.Make(bad); err == nil {
			t.Errorf("%q was made", bad)
		}
	}
}

func TestRemove(t *testing.T) {
	d := disk(t)
	outside := filepath.Join(filepath.Dir(d.Root), "outside")
	write(t, filepath.Join(outside, "mark"))
	if err := os.Symlink(outside, filepath.Join(d.Path(name), "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, d.Path("link")); err != nil {
		t.Fatal(err)
	}
	for _, remove := range []string{name, name, "link", "never-there"} {
		if err := d.Remove(remove); err != nil {
			t.Errorf("%s: %v", remove, err)
		}
	}
	for _, bad := range []string{"..", ".", "", "../outside", "/" + outside, "a/../../outside"} {
		if err := d.Remove(bad); err == nil {
			t.Errorf("%q was removed", bad)
		}
	}
	if left, err := os.ReadDir(d.Root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if !exists(t, filepath.Join(outside, "mark")) {
		t.Error("something outside was removed")
	}
}

// TestRemoveResumes finishes what a killed process began.
func TestRemoveResumes(t *testing.T) {
	for what, finish := range map[string]func(*Directory) error{
		"again": func(d *Directory) error { return d.Remove(name) },
		"sweep": func(d *Directory) error { return d.Sweep(func(string) bool { return false }) },
	} {
		d := disk(t)
		if err := os.Rename(d.Path(name), d.Path(removing+name)); err != nil {
			t.Fatal(err)
		}
		if err := finish(d); err != nil || exists(t, d.Path(removing+name)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSweepKeepsContent(t *testing.T) {
	d := disk(t)
	for _, dir := range []string{"pvc-empty", "pvc-wanted"} {
		if err := d.Make(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Sweep(func(name string) bool { return name == "pvc-wanted" }); err != nil {
		t.Fatal(err)
	}
	if !exists(t, filepath.Join(d.Path(name), "deep", "mark")) || !exists(t, d.Path("pvc-wanted")) || exists(t, d.Path("pvc-empty")) {
		t.Error("the wrong directories are left")
	}
	if err := (&Directory{Root: filepath.Join(d.Root, "missing")}).Sweep(nil); err != nil {
		t.Error(err)
	}
}

// TestRemoveMounted keeps what a pod has mounted, as a whole, in part, or by another name, until it is unmounted.
func TestRemoveMounted(t *testing.T) {
	for _, part := range []string{"", "deep"} {
		d := disk(t)
		target := filepath.Join(filepath.Dir(d.Root), "pod")
		unmount := bindMount(t, filepath.Join(d.Path(name), part), target)
		if err := d.Remove(name); !errors.Is(err, ErrInUse) {
			t.Errorf("mounted: %v", err)
		}
		if !exists(t, filepath.Join(d.Path(name), "deep", "mark")) {
			t.Fatal("the data of a mounted volume is gone")
		}
		// A removal that began before the mount, in a process that was killed.
		if err := os.Rename(d.Path(name), d.Path(removing+name)); err != nil {
			t.Fatal(err)
		}
		if err := d.Remove(name); !errors.Is(err, ErrInUse) {
			t.Errorf("mounted, renamed: %v", err)
		}
		if err := d.Sweep(func(string) bool { return false }); !errors.Is(err, ErrInUse) {
			t.Errorf("sweep: %v", err)
		}
		if !exists(t, filepath.Join(d.Path(removing+name), "deep", "mark")) {
			t.Fatal("the data of a mounted volume is gone")
		}
		unmount()
		if err := d.Remove(name); err != nil || exists(t, d.Path(removing+name)) {
			t.Errorf("unmounted: %v", err)
		}
	}
}

// TestRemoveAround keeps a volume in which something else is mounted.
func TestRemoveAround(t *testing.T) {
	d := disk(t)
	other := filepath.Join(filepath.Dir(d.Root), "other")
	write(t, filepath.Join(other, "mark"))
	unmount := bindMount(t, other, filepath.Join(d.Path(name), "inside"))
	if err := d.Remove(name); !errors.Is(err, ErrInUse) || !exists(t, filepath.Join(other, "mark")) {
		t.Errorf("%v", err)
	}
	unmount()
	if err := d.Remove(name); err != nil || !exists(t, filepath.Join(other, "mark")) {
		t.Errorf("%v", err)
	}
}

func TestUsesMount(t *testing.T) {
	at := func(major int, root, point string) mountutils.MountInfo {
		return mountutils.MountInfo{Major: major, Root: root, MountPoint: point}
	}
	table := []mountutils.MountInfo{at(1, "/", "/"), at(2, "/sub", "/var/lib"), at(3, "/", "/proc")}
	for what, tt := range map[string]struct {
		more mountutils.MountInfo
		want bool
	}{
		"nothing":                {at(3, "/", "/sys"), false},
		"bound":                  {at(2, "/sub/volumes/a", "/pods/x"), true},
		"bound in part":          {at(2, "/sub/volumes/a/deep", "/pods/x"), true},
		"neighbour":              {at(2, "/sub/volumes/ab", "/pods/x"), false},
		"other file system":      {at(1, "/sub/volumes/a", "/pods/x"), false},
		"mounted upon":           {at(3, "/", "/var/lib/volumes/a"), true},
		"mounted in":             {at(3, "/", "/var/lib/volumes/a/deep"), true},
		"bound from a long name": {at(2, `/sub/volumes/a/with\040space`, "/pods/x"), true},
	} {
		if got := usesMount("/var/lib/volumes/a", append([]mountutils.MountInfo{tt.more}, table...)); got != tt.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	if !usesMount("/var/lib/volumes/a", nil) {
		t.Error("without a mount table nothing is known")
	}
}
