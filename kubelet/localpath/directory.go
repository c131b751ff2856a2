package localpath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ErrInUse is the error of removing a directory that somebody still uses.
var ErrInUse = errors.New("the volume is still in use")

// removing begins the names of directories that are being removed.
const removing = ".removing-"

// Directory keeps a directory per volume below Root, which only the superuser may enter: containers get at theirs
// through mounts.
type Directory struct{ Root string }

// Path answers where the volume's directory is.
func (d *Directory) Path(name string) string { return filepath.Join(d.Root, name) }

// open answers the root, below which all work is done, and checks the name.
func (d *Directory) open(name string) (*os.Root, error) {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return nil, fmt.Errorf("%q names no volume: %s", name, problems[0])
	}
	if err := os.MkdirAll(d.Root, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of local volumes: %w", err)
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of local volumes: %w", err)
	}
	return root, nil
}

// Make makes the volume's directory, which any user may write to; it may be there already.
func (d *Directory) Make(name string) error {
	root, err := d.open(name)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making a volume's directory: %w", err)
	}
	info, err := root.Lstat(name)
	if err != nil {
		return fmt.Errorf("making a volume's directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", d.Path(name))
	}
	if err := root.Chmod(name, 0o777); err != nil { // whatever the umask
		return fmt.Errorf("making a volume's directory: %w", err)
	}
	return persist(root)
}

// Remove removes the volume's directory with all that is in it; it may be gone already. A directory that is mounted
// anywhere, or in which something is, answers ErrInUse and keeps its content. So that nobody can mount it while it is
// being removed, it first gets a name that no volume has.
func (d *Directory) Remove(name string) error {
	root, err := d.open(name)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := d.clear(root, removing+name); err != nil { // what an earlier process did not get done
		return err
	}
	if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if used, err := mounted(d.Path(name)); err != nil || used {
		return inUse(used, err)
	}
	if err := root.Rename(name, removing+name); err != nil {
		return fmt.Errorf("removing a volume's directory: %w", err)
	}
	err = d.clear(root, removing+name)
	if errors.Is(err, ErrInUse) { // mounted at the last moment: give it back
		return errors.Join(err, root.Rename(removing+name, name))
	}
	if err != nil {
		return err
	}
	return persist(root)
}

// clear removes a directory that has lost its name.
func (d *Directory) clear(root *os.Root, name string) error {
	if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if used, err := mounted(d.Path(name)); err != nil || used {
		return inUse(used, err)
	}
	if err := root.RemoveAll(name); err != nil {
		return fmt.Errorf("removing a volume's directory: %w", err)
	}
	return nil
}

func inUse(used bool, err error) error {
	if used {
		return ErrInUse
	}
	return err
}

// Sweep finishes removals that were begun, and removes empty directories that are not to be kept. What has content
// and no volume is left for a person to look at.
func (d *Directory) Sweep(keep func(name string) bool) error {
	entries, err := os.ReadDir(d.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing local volumes: %w", err)
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return fmt.Errorf("opening the directory of local volumes: %w", err)
	}
	defer root.Close()
	var failures []error
	for _, entry := range entries {
		switch name := entry.Name(); {
		case strings.HasPrefix(name, removing):
			failures = append(failures, d.clear(root, name))
		case entry.IsDir() && !keep(name):
			if err := root.Remove(name); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
				failures = append(failures, fmt.Errorf("removing an empty directory: %w", err))
			}
		}
	}
	return errors.Join(failures...)
}

// persist makes the entries of the directory survive a loss of power.
func persist(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("syncing the directory of local volumes: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("syncing the directory of local volumes: %w", err)
	}
	return nil
}
