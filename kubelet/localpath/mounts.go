package localpath

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	mountutils "k8s.io/mount-utils"
)

// mounted tells whether the directory, or anything in it, is mounted somewhere, or has something mounted in it. Pods
// have it mounted as long as one of their containers may run.
func mounted(dir string) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for mounts of a volume: %w", err)
	}
	infos, err := mountutils.ParseMountInfo("/proc/self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("reading the mount table: %w", err)
	}
	return usesMount(dir, infos), nil
}

// usesMount is mounted for a mount table. A mount of a directory tells the file system and, as its root, the
// directory's path in it; that path of dir follows from the mount that dir lies in.
func usesMount(dir string, infos []mountutils.MountInfo) bool {
	var home *mountutils.MountInfo
	for i := range infos {
		point := unescape.Replace(infos[i].MountPoint)
		if within(point, dir) {
			return true
		}
		if within(dir, point) && (home == nil || len(point) >= len(unescape.Replace(home.MountPoint))) {
			home = &infos[i]
		}
	}
	if home == nil {
		return true // not to be found out
	}
	inside := path.Join(unescape.Replace(home.Root), strings.TrimPrefix(dir, unescape.Replace(home.MountPoint)))
	for i := range infos {
		if infos[i].Major == home.Major && infos[i].Minor == home.Minor && within(unescape.Replace(infos[i].Root), inside) {
			return true
		}
	}
	return false
}

// within tells whether a path is base or below it.
func within(path, base string) bool {
	return path == base || strings.HasPrefix(path, strings.TrimSuffix(base, "/")+"/")
}

// unescape undoes the escapes of the mount table.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
