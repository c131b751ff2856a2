package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names a rendered volume is made of:
//
//	<volume>/..2006_01_02_15_04_05.123/dir/file   one generation of all files
//	<volume>/..data -> ..2006_01_02_15_04_05.123  which generation is current; renamed over, so it changes atomically
//	<volume>/dir -> ..data/dir                    what readers open; one link for each first path element
const (
	dataLink         = "..data"
	newDataLink      = "..data_tmp"
	generationLayout = "..2006_01_02_15_04_05."
	maxPathLength    = 4096
)

// file is one file of a rendered volume.
type file struct {
	data []byte
	mode fs.FileMode
	user *int64 // owner, nil for root
}

// files are the files of a volume by path, slash-separated and relative to it.
type files map[string]file

// writeAtomically makes dir show exactly payload, owned by group if that is set. It says whether anything changed. A
// reader that opens files through the links sees all old or all new files, except while links come and go.
func writeAtomically(dir string, payload files, group *int64) (changed bool, err error) {
	payload, err = payload.clean()
	if err != nil {
		return false, err
	}
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("reading the current generation: %w", err)
	}
	if current != "" && shows(filepath.Join(dir, current), payload) {
		return false, finish(dir, payload, current)
	}
	next, err := writeGeneration(dir, payload, group)
	if err != nil {
		return false, err
	}
	if err := switchTo(dir, next); err != nil {
		return false, errors.Join(err, os.RemoveAll(filepath.Join(dir, next)))
	}
	return true, finish(dir, payload, next)
}

// clean answers the payload with clean paths, refusing those that would leave the volume or meet its own names.
func (f files) clean() (files, error) {
	cleaned := make(files, len(f))
	for name, content := range f {
		switch {
		case name == "" || path.IsAbs(name):
			return nil, fmt.Errorf("invalid path: must be relative path: %s", name)
		case len(name) > maxPathLength:
			return nil, fmt.Errorf("invalid path: must be less than or equal to %d characters", maxPathLength)
		case slices.Contains(strings.Split(name, "/"), ".."):
			return nil, fmt.Errorf("invalid path: must not contain '..': %s", name)
		case strings.HasPrefix(path.Clean(name), "..") || path.Clean(name) == ".":
			return nil, fmt.Errorf("invalid path: must not start with '..': %s", name)
		}
		cleaned[path.Clean(name)] = content
	}
	return cleaned, nil
}

// shows says whether a generation consists of exactly these files, with this content and mode.
func shows(generation string, payload files) bool {
	found := 0
	err := filepath.WalkDir(generation, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(generation, at)
		if err != nil {
			return err
		}
		want, ok := payload[filepath.ToSlash(relative)]
		if !ok || !want.isAt(at) {
			return errors.New("differs")
		}
		found++
		return nil
	})
	return err == nil && found == len(payload)
}

// isAt compares what matters to a reader. Permission bits a group's ownership added are allowed to be there.
func (f file) isAt(at string) bool {
	info, err := os.Lstat(at)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&^groupReads != f.mode.Perm()&^groupReads {
		return false
	}
	data, err := os.ReadFile(at)
	return err == nil && bytes.Equal(data, f.data)
}

// writeGeneration writes all files to a new directory and answers its name.
func writeGeneration(dir string, payload files, group *int64) (name string, err error) {
	generation, err := os.MkdirTemp(dir, time.Now().UTC().Format(generationLayout))
	if err != nil {
		return "", fmt.Errorf("making a generation: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(generation))
		}
	}()
	if err := os.Chmod(generation, 0o755); err != nil {
		return "", fmt.Errorf("opening a generation: %w", err)
	}
	for name, f := range payload {
		if err := f.write(filepath.Join(generation, filepath.FromSlash(name))); err != nil {
			return "", fmt.Errorf("writing %s: %w", name, err)
		}
	}
	if group != nil {
		if err := ownRendered(generation, *group); err != nil {
			return "", err
		}
	}
	return filepath.Base(generation), nil
}

// write creates the file. The mode is set afterwards because creation is subject to the umask.
func (f file) write(at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at, f.data, f.mode); err != nil {
		return err
	}
	if err := os.Chmod(at, f.mode); err != nil {
		return err
	}
	if f.user == nil {
		return nil
	}
	return os.Chown(at, int(*f.user), -1)
}

// ownRendered gives a generation to a group, which may read it but not write it.
func ownRendered(generation string, group int64) error {
	err := filepath.WalkDir(generation, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return own(at, group, groupReads)
	})
	if err != nil {
		return fmt.Errorf("giving files to group %d: %w", group, err)
	}
	return nil
}

// switchTo makes a generation the current one.
func switchTo(dir, generation string) error {
	fresh := filepath.Join(dir, newDataLink)
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a link left over: %w", err)
	}
	if err := os.Symlink(generation, fresh); err != nil {
		return fmt.Errorf("linking the new generation: %w", err)
	}
	if err := os.Rename(fresh, filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("switching to the new generation: %w", err)
	}
	return nil
}

// finish makes the visible links match the payload and removes every generation but the current one. It repairs
// whatever an interrupted write left.
func finish(dir string, payload files, current string) error {
	wanted := map[string]bool{}
	for name := range payload {
		first, _, _ := strings.Cut(name, "/")
		wanted[first] = true
	}
	present, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing a volume: %w", err)
	}
	for _, entry := range present {
		name := entry.Name()
		if name == dataLink || name == current || wanted[name] {
			delete(wanted, name)
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing what is no longer part of the volume: %w", err)
		}
	}
	for name := range wanted {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("linking %s: %w", name, err)
		}
	}
	return nil
}
