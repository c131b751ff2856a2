// Package ociimage writes small container images as OCI image archives: a tar
// of an OCI image layout (OCI image specification 1.1) with one image in it.
//
// The same input always gives the same bytes, so an image keeps its digest
// from build to build.
package ociimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Media types of the OCI image specification.
const (
	MediaTypeIndex    = "application/vnd.oci.image.index.v1+json"
	MediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	MediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// File is one entry of an image's root file system.
type File struct {
	Path string // absolute inside the image
	Mode int64  // permission bits; directories are made as needed with 0755
	Data []byte
	Link string // target of a symbolic link; Data is unused then
	Dir  bool
}

// Image says what goes into an archive.
type Image struct {
	Reference  string // e.g. registry.k8s.io/pause:3.10
	Entrypoint []string
	Command    []string
	Env        []string
	WorkingDir string
	User       string
	Labels     map[string]string
	Files      []File // one layer
}

// Blob is content addressed by its SHA-256 digest.
type Blob struct {
	MediaType string
	Digest    string // sha256:<hex>
	Data      []byte
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Blobs renders the image: its layer, its configuration, and last its manifest.
func (i Image) Blobs() ([]Blob, error) {
	plain, err := layer(i.Files)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Reference, err)
	}
	packed, err := compress(plain)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Reference, err)
	}
	config, err := json.Marshal(i.config(digest(plain)))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Reference, err)
	}
	layerBlob, configBlob := blob(MediaTypeLayer, packed), blob(MediaTypeConfig, config)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     MediaTypeManifest,
		"config":        describe(configBlob),
		"layers":        []descriptor{describe(layerBlob)},
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Reference, err)
	}
	return []Blob{layerBlob, configBlob, blob(MediaTypeManifest, manifest)}, nil
}

func (i Image) config(diffID string) map[string]any {
	run := map[string]any{}
	for k, v := range map[string]string{"WorkingDir": i.WorkingDir, "User": i.User} {
		if v != "" {
			run[k] = v
		}
	}
	for k, v := range map[string][]string{"Entrypoint": i.Entrypoint, "Cmd": i.Command, "Env": i.Env} {
		if len(v) > 0 {
			run[k] = v
		}
	}
	if len(i.Labels) > 0 {
		run["Labels"] = i.Labels
	}
	return map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       run,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{diffID}},
	}
}

// Write writes one archive that holds all images, each under its reference.
func Write(w io.Writer, images ...Image) error {
	out := tar.NewWriter(w)
	var index []descriptor
	written := map[string]bool{}
	for _, image := range images {
		blobs, err := image.Blobs()
		if err != nil {
			return err
		}
		for _, b := range blobs {
			name := "blobs/sha256/" + strings.TrimPrefix(b.Digest, "sha256:")
			if written[name] {
				continue
			}
			written[name] = true
			if err := add(out, File{Path: name, Mode: 0o644, Data: b.Data}); err != nil {
				return fmt.Errorf("writing image %s: %w", image.Reference, err)
			}
		}
		d := describe(blobs[len(blobs)-1])
		d.Platform = &platform{Architecture: runtime.GOARCH, OS: "linux"}
		d.Annotations = map[string]string{
			"io.containerd.image.name":          image.Reference,
			"org.opencontainers.image.ref.name": image.Reference,
		}
		index = append(index, d)
	}
	doc, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": MediaTypeIndex, "manifests": index})
	if err != nil {
		return fmt.Errorf("writing image index: %w", err)
	}
	for _, f := range []File{
		{Path: "index.json", Mode: 0o644, Data: doc},
		{Path: "oci-layout", Mode: 0o644, Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	} {
		if err := add(out, f); err != nil {
			return fmt.Errorf("writing %s: %w", f.Path, err)
		}
	}
	return out.Close()
}

func layer(files []File) ([]byte, error) {
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	made := map[string]bool{".": true, "/": true}
	sorted := slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range sorted {
		f.Path = strings.TrimPrefix(path.Clean("/"+f.Path), "/")
		if err := parents(out, made, f.Path); err != nil {
			return nil, err
		}
		if f.Dir {
			made[f.Path] = true
		}
		if err := add(out, f); err != nil {
			return nil, fmt.Errorf("adding %s: %w", f.Path, err)
		}
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("closing layer: %w", err)
	}
	return buf.Bytes(), nil
}

func parents(out *tar.Writer, made map[string]bool, name string) error {
	dir := path.Dir(name)
	if made[dir] {
		return nil
	}
	if err := parents(out, made, dir); err != nil {
		return err
	}
	made[dir] = true
	return add(out, File{Path: dir, Mode: 0o755, Dir: true})
}

func add(out *tar.Writer, f File) error {
	h := &tar.Header{Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case f.Dir:
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, f.Link, 0, 0o777
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	_, err := out.Write(f.Data)
	return err
}

func compress(plain []byte) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(plain); err != nil {
		return nil, fmt.Errorf("compressing layer: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing layer: %w", err)
	}
	return buf.Bytes(), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func blob(mediaType string, data []byte) Blob {
	return Blob{MediaType: mediaType, Digest: digest(data), Data: data}
}

func describe(b Blob) descriptor {
	return descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: len(b.Data)}
}
