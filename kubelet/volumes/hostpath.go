package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// hostPath is a file or directory of the host as it is. Nothing of it is owned, so nothing is torn down.
type hostPath struct{}

func (hostPath) dir() string { return "kubernetes.io~host-path" }

func (hostPath) owns(spec *corev1.Volume) bool { return spec.HostPath != nil }

func (hostPath) setUp(_ context.Context, v *volume) (string, time.Time, error) {
	return v.spec.HostPath.Path, time.Time{}, checkHostPath(v.spec.HostPath)
}

// checkHostPath makes the path what its type asks for, or says why it is not.
func checkHostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	if kind == corev1.HostPathUnset {
		return nil
	}
	if err := createHostPath(source.Path, kind); err != nil {
		return err
	}
	return matchHostPath(source.Path, kind)
}

// createHostPath makes what an ...OrCreate type asks for if there is nothing.
func createHostPath(path string, kind corev1.HostPathType) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	switch kind {
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("creating host path: %w", err)
		}
	case corev1.HostPathFileOrCreate:
		file, err := os.OpenFile(filepath.Clean(path), os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("creating host path: %w", err)
		}
		return file.Close()
	}
	return nil
}

// matchHostPath checks that what is at path is of the wanted type.
func matchHostPath(path string, kind corev1.HostPathType) error {
	info, err := os.Stat(path)
	missing := err != nil
	var mode fs.FileMode
	if !missing {
		mode = info.Mode()
	}
	var want string
	var matches bool
	switch kind {
	case corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory:
		want, matches = "a directory", mode.IsDir()
	case corev1.HostPathFileOrCreate, corev1.HostPathFile:
		want, matches = "a file", !missing && mode.IsRegular()
	case corev1.HostPathSocket:
		want, matches = "a socket file", mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		want, matches = "a character device", mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		want, matches = "a block device", mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	default:
		return fmt.Errorf("%s is an invalid volume type", kind)
	}
	if !matches {
		return fmt.Errorf("hostPath type check failed: %s is not %s", path, want)
	}
	return nil
}
