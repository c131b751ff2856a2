package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	first, err := Extract(dir)
	if errors.Is(err, ErrMissing) {
		t.Fatal("run `make bundle` first: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"runc", "containerd-shim-runc-v2", "bridge", "host-local", "loopback"} {
		info, err := os.Stat(filepath.Join(first, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode().Perm()&0o111 == 0 {
			t.Errorf("%s is not executable: %s", name, info.Mode())
		}
	}
	if _, err := os.Stat(filepath.Join(first, PauseArchive)); err != nil {
		t.Error(err)
	}
	second, err := Extract(dir)
	if err != nil || second != first {
		t.Errorf("second Extract: %q, %v; want %q", second, err, first)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries below %s (%v), want 1", len(entries), dir, err)
	}
}
