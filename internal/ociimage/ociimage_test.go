package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func read(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrite(t *testing.T) {
	image := Image{
		Reference:  "example.test/app:1",
		Entrypoint: []string{"/bin/app"},
		Files:      []File{{Path: "/bin/app", Mode: 0o755, Data: []byte("program")}, {Path: "/etc/link", Link: "/bin/app"}, {Path: "/empty", Mode: 0o700, Dir: true}},
	}
	var first, second bytes.Buffer
	if err := errors.Join(Write(&first, image), Write(&second, image)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same image gave different bytes")
	}
	files := read(t, first.Bytes())
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index.json: %v %s", err, files["index.json"])
	}
	m := index.Manifests[0]
	if m.Annotations["io.containerd.image.name"] != image.Reference {
		t.Errorf("annotations %v", m.Annotations)
	}
	for name, data := range files {
		if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && digest(data) != "sha256:"+hex {
			t.Errorf("%s holds %s", name, digest(data))
		}
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal(files["blobs/sha256/"+strings.TrimPrefix(m.Digest, "sha256:")], &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("manifest: %v %+v", err, manifest)
	}
}

func TestLayerMakesParents(t *testing.T) {
	plain, err := layer([]File{{Path: "/a/b/c", Mode: 0o644, Data: []byte("x")}, {Path: "/a/b/d", Mode: 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	files := read(t, plain)
	for _, want := range []string{"a/", "a/b/", "a/b/c", "a/b/d"} {
		if _, ok := files[want]; !ok {
			t.Errorf("layer lacks %s", want)
		}
	}
	if len(files) != 4 {
		t.Errorf("layer has %d entries, want 4", len(files))
	}
}
