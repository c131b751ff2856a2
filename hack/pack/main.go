// Command pack writes the runtime bundle: a zstd-compressed tar of the programs
// the node runs and of the pause image, embedded into skiff by kubelet/bundle.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"skiff/internal/ociimage"
	"skiff/kubelet/bundle"
)

func main() {
	out := flag.String("out", "", "file to write")
	pause := flag.String("pause", "", "the pause program, which goes in as an image")
	flag.Parse()
	if err := pack(*out, *pause, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(out, pause string, programs []string) error {
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, p := range programs {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := add(t, filepath.Base(p), 0o755, data); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(pause)
	if err != nil {
		return err
	}
	var image bytes.Buffer
	if err := ociimage.Write(&image, ociimage.Image{
		Reference:  bundle.PauseReference,
		Entrypoint: []string{"/pause"},
		User:       "65535:65535",
		Files:      []ociimage.File{{Path: "/pause", Mode: 0o555, Data: program}},
	}); err != nil {
		return err
	}
	if err := add(t, bundle.PauseArchive, 0o644, image.Bytes()); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, buf.Bytes(), 0o644)
}

func add(t *tar.Writer, name string, mode int64, data []byte) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}
