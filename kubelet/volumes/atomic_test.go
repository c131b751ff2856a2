package volumes

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"skiff/kubelet/internal/mounttest"
)

// view reads what a container sees: every file that can be reached by a name not starting with two dots.
func view(t rapid.TB, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		target, err := filepath.EvalSymlinks(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatalf("a visible link leads nowhere: %v", err)
		}
		err = filepath.WalkDir(target, func(at string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(at)
			rel, _ := filepath.Rel(target, at)
			seen[filepath.ToSlash(filepath.Join(entry.Name(), rel))] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return seen
}

func TestAtomicWriterShowsExactlyThePayload(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var volumes atomic.Int64
	names := rapid.SampledFrom([]string{"a", "b", "c", "dir/a", "dir/b", "dir/sub/c", "other/x", ".hidden", "dir.d/y"})
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(root, strconv.Itoa(int(volumes.Add(1))))
		if err := os.Mkdir(dir, 0o750); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 5).Draw(rt, "writes") {
			payload, want := files{}, map[string]string{}
			for _, name := range rapid.SliceOfNDistinct(names, 0, 6, rapid.ID).Draw(rt, "names") {
				want[name] = rapid.StringN(0, 8, 32).Draw(rt, "content")
				payload[name] = file{data: []byte(want[name]), mode: 0o644}
			}
			before := generations(rt, dir)
			changed, err := writeAtomically(dir, payload, nil)
			if err != nil {
				rt.Fatal(err)
			}
			if seen := view(rt, dir); !maps.Equal(seen, want) {
				rt.Fatalf("a reader sees %v, want %v", seen, want)
			}
			after := generations(rt, dir)
			if len(after) != 1 {
				rt.Fatalf("generations left: %v", after)
			}
			if changed == slices.Equal(before, after) {
				rt.Fatalf("changed is %v, generations went from %v to %v", changed, before, after)
			}
			if again, err := writeAtomically(dir, payload, nil); err != nil || again {
				rt.Fatalf("writing the same again changed something (%v) or failed: %v", again, err)
			}
		}
	})
}

func generations(t rapid.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "..2*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAtomicWriterLayoutAndModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	payload := files{"key": {data: []byte("v"), mode: 0o600}, "sub/key": {data: []byte("w"), mode: 0o444}}
	if _, err := writeAtomically(dir, payload, nil); err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{"key": "..data/key", "sub": "..data/sub"} {
		if got, err := os.Readlink(filepath.Join(dir, link)); err != nil || got != want {
			t.Errorf("%s links to %q (%v), want %q", link, got, err, want)
		}
	}
	generation, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil || !strings.HasPrefix(generation, "..20") {
		t.Errorf("..data links to %q: %v", generation, err)
	}
	for name, want := range map[string]fs.FileMode{"key": 0o600, "sub/key": 0o444, "..data": 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
}

func TestAtomicWriterRepairsWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	payload := files{"key": {data: []byte("v"), mode: 0o644}}
	if _, err := writeAtomically(dir, payload, nil); err != nil {
		t.Fatal(err)
	}
	// As if killed: a generation not switched to, a link not renamed, a visible link not made and one not removed.
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "..2001_01_01_00_00_00.1"), 0o755),
		os.Symlink("..2001_01_01_00_00_00.1", filepath.Join(dir, "..data_tmp")),
		os.Remove(filepath.Join(dir, "key")),
		os.Symlink("..data/gone", filepath.Join(dir, "gone")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := writeAtomically(dir, payload, nil); err != nil {
		t.Fatal(err)
	}
	if seen := view(t, dir); !maps.Equal(seen, map[string]string{"key": "v"}) {
		t.Errorf("a reader sees %v", seen)
	}
	if left := generations(t, dir); len(left) != 1 {
		t.Errorf("generations left: %v", left)
	}
}

func TestAtomicWriterRefusesPathsThatLeave(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "/abs", "../up", "a/../../b", "..data", "..", ".", strings.Repeat("x", 5000)} {
		dir := t.TempDir()
		if _, err := writeAtomically(dir, files{name: {mode: 0o644}}, nil); err == nil {
			t.Errorf("path %.20q was accepted", name)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("path %.20q left %v", name, left)
		}
	}
}

func TestAtomicWriterGivesFilesToGroupAndUser(t *testing.T) {
	t.Parallel()
	mounttest.Need(t)
	dir := t.TempDir()
	user, group := int64(1234), int64(2345)
	if _, err := writeAtomically(dir, files{"d/token": {data: []byte("v"), mode: 0o600, user: &user}}, &group); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "d/token"))
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != 1234 || st.Gid != 2345 || info.Mode().Perm() != 0o640 {
		t.Errorf("the file belongs to %d:%d with mode %v", st.Uid, st.Gid, info.Mode())
	}
	parent, err := os.Stat(filepath.Join(dir, "d"))
	if err != nil {
		t.Fatal(err)
	}
	if parent.Mode()&fs.ModeSetgid == 0 || parent.Sys().(*syscall.Stat_t).Gid != 2345 {
		t.Errorf("the directory has mode %v", parent.Mode())
	}
	if changed, err := writeAtomically(dir, files{"d/token": {data: []byte("v"), mode: 0o600, user: &user}}, &group); changed || err != nil {
		t.Errorf("the group's permissions were taken for a change (%v): %v", changed, err)
	}
}
