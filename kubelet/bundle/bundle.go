// Package bundle owns the programs that ride inside the skiff binary: runc,
// containerd-shim-runc-v2, the CNI plugins and the pause image.
//
// They are compressed in one archive. Extract unpacks it once per content: the
// folder is named after the archive's digest, so an upgrade of skiff never
// replaces a program that a running container's shim still uses.
package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

const (
	// PauseReference names the image of a pod's sandbox container.
	PauseReference = "registry.k8s.io/pause:3.10.1"
	// PauseArchive is the OCI archive of PauseReference in the bundle.
	PauseArchive = "pause.tar"

	archive = "data/bundle.tar.zst"
)

//go:embed all:data
var data embed.FS

// ErrMissing says that this skiff was built without its bundle.
var ErrMissing = errors.New("this skiff was built without its runtime bundle and can't run containers: build it with `make build`")

// Extract unpacks the bundle below dir and answers the folder that holds its
// files. It does nothing when that folder is already complete.
func Extract(dir string) (string, error) {
	packed, err := data.ReadFile(archive)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrMissing
	}
	if err != nil {
		return "", fmt.Errorf("reading the runtime bundle: %w", err)
	}
	sum := sha256.Sum256(packed)
	target := filepath.Join(dir, hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("unpacking the runtime bundle: %w", err)
	}
	staging, err := os.MkdirTemp(dir, ".unpack-")
	if err != nil {
		return "", fmt.Errorf("unpacking the runtime bundle: %w", err)
	}
	defer os.RemoveAll(staging)
	if err := unpack(packed, staging); err != nil {
		return "", fmt.Errorf("unpacking the runtime bundle to %s: %w", dir, err)
	}
	if err := os.Chmod(staging, 0o755); err != nil {
		return "", fmt.Errorf("unpacking the runtime bundle: %w", err)
	}
	if err := os.Rename(staging, target); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("unpacking the runtime bundle: %w", err)
	}
	return target, nil
}

func unpack(packed []byte, dir string) error {
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("entry %q points outside", h.Name)
		}
		if err := write(filepath.Join(dir, h.Name), fs.FileMode(h.Mode).Perm(), r); err != nil {
			return err
		}
	}
}

func write(name string, mode fs.FileMode, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
