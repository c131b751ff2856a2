// Package ociarchive writes container images as OCI archives, for tests that have no registry.
package ociarchive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Image is what an archive holds: one image of one layer.
type Image struct {
	// Name is the full name: registry, path and tag.
	Name       string
	Files      map[string]File
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	WorkingDir string
	StopSignal string
}

// File is one file of the layer; a symbolic link when Link is set. Parents are made as needed.
type File struct {
	Content []byte
	Mode    int64
	Link    string
}

// Write writes the archive to a file.
func Write(path string, image Image) error {
	blobs, index, err := encode(image)
	if err != nil {
		return fmt.Errorf("encoding image %s: %w", image.Name, err)
	}
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("creating the archive: %w", err)
	}
	w := tar.NewWriter(out)
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index}
	for digest, blob := range blobs {
		files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")] = blob
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := add(w, name, File{Content: files[name], Mode: 0o644}); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", path, err)
	}
	return nil
}

// Blobs answers the image's blobs by digest and its manifest's digest, for a registry to serve.
func Blobs(image Image) (blobs map[string][]byte, manifest string, err error) {
	blobs, index, err := encode(image)
	if err != nil {
		return nil, "", err
	}
	var parsed struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(index, &parsed); err != nil {
		return nil, "", err
	}
	return blobs, parsed.Manifests[0].Digest, nil
}

func encode(image Image) (map[string][]byte, []byte, error) {
	layer, err := layer(image.Files)
	if err != nil {
		return nil, nil, err
	}
	blobs := map[string][]byte{}
	put := func(kind string, value any) map[string]any {
		data, ok := value.([]byte)
		if !ok {
			data, err = json.Marshal(value)
		}
		digest := digest(data)
		blobs[digest] = data
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": digest, "size": len(data)}
	}
	config := put("config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Entrypoint": image.Entrypoint, "Cmd": image.Cmd, "Env": image.Env, "User": image.User, "WorkingDir": image.WorkingDir, "StopSignal": image.StopSignal,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	manifest := put("manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
		"layers": []any{put("layer.v1.tar", layer)},
	})
	manifest["annotations"] = map[string]string{"io.containerd.image.name": image.Name, "org.opencontainers.image.ref.name": image.Name}
	index, indexErr := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	if err == nil {
		err = indexErr
	}
	return blobs, index, err
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func layer(files map[string]File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts := strings.Split(strings.Trim(name, "/"), "/")
		for i := 1; i < len(parts); i++ {
			dir := strings.Join(parts[:i], "/") + "/"
			if !made[dir] {
				made[dir] = true
				if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
					return nil, err
				}
			}
		}
		if err := add(w, strings.Join(parts, "/"), files[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func add(w *tar.Writer, name string, file File) error {
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: file.Mode, Size: int64(len(file.Content))}
	if file.Link != "" {
		header = &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: file.Link, Mode: 0o777}
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if file.Link != "" {
		return nil
	}
	_, err := io.Copy(w, bytes.NewReader(file.Content))
	return err
}
