// Package diskuse measures what directories take on disk.
package diskuse

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// block is the unit of a file's allocated size (stat(2)).
const block = 512

// Of answers what is allocated below dir and of how many files, a file with several names counted once. What vanishes
// meanwhile, or isn't there yet, takes nothing.
func Of(dir string) (bytes, files int64, err error) {
	type inode struct{ device, number uint64 }
	seen := map[inode]bool{}
	var device uint64 // what others mounted below isn't the volume's
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		switch {
		case path == dir:
			device = st.Dev
		case st.Dev != device && entry.IsDir():
			return fs.SkipDir
		}
		if !entry.IsDir() && st.Nlink > 1 {
			if seen[inode{st.Dev, st.Ino}] {
				return nil
			}
			seen[inode{st.Dev, st.Ino}] = true
		}
		bytes += st.Blocks * block
		files++
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring %s: %w", dir, err)
	}
	return bytes, files, nil
}
