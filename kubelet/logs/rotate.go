package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"
)

// RotationConfig says when a log is rotated and how much of it is kept.
type RotationConfig struct {
	// MaxSize is the size in bytes from which a log is rotated; 10 MiB by default.
	MaxSize int64
	// MaxFiles is how many files are kept of a container, with the one written to; 5 by default, at least 2.
	MaxFiles int
	// Interval is how often sizes are looked at; 10 s by default.
	Interval time.Duration
}

// Running is the log of a running container.
type Running struct {
	ContainerID, Path string
}

// Containers is what rotation needs of the runtime.
type Containers interface {
	// RunningLogs answers the logs being written.
	RunningLogs(ctx context.Context) ([]Running, error)
	// ReopenLog makes the runtime write to a new file at the same path.
	ReopenLog(ctx context.Context, containerID string) error
}

// Rotator keeps logs from growing without bound.
type Rotator struct {
	config     RotationConfig
	containers Containers
}

// NewRotator makes a rotator; zero values of the configuration mean the defaults.
func NewRotator(config RotationConfig, containers Containers) *Rotator {
	if config.MaxSize == 0 {
		config.MaxSize = 10 << 20
	}
	if config.MaxFiles == 0 {
		config.MaxFiles = 5
	}
	config.MaxFiles = max(config.MaxFiles, 2)
	if config.Interval == 0 {
		config.Interval = 10 * time.Second
	}
	return &Rotator{config: config, containers: containers}
}

// Run looks at the logs at every interval until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.RotateAll(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Rotating container logs failed")
		}
	}
}

// RotateAll rotates every log that has grown too large.
func (r *Rotator) RotateAll(ctx context.Context) error {
	running, err := r.containers.RunningLogs(ctx)
	if err != nil {
		return fmt.Errorf("listing logs: %w", err)
	}
	var failures []error
	for _, log := range running {
		info, err := os.Stat(log.Path)
		if errors.Is(err, fs.ErrNotExist) {
			// A rotation was interrupted before the runtime opened a new file.
			failures = append(failures, r.containers.ReopenLog(ctx, log.ContainerID))
			continue
		}
		if err == nil && info.Size() >= r.config.MaxSize {
			err = r.rotate(ctx, log)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("rotating %s: %w", log.Path, err))
		}
	}
	return errors.Join(failures...)
}

const (
	rotatedLayout    = "20060102-150405"
	compressedSuffix = ".gz"
	unfinishedSuffix = ".tmp"
)

// rotate drops the oldest files, compresses all but the newest and makes the runtime begin another.
func (r *Rotator) rotate(ctx context.Context, log Running) error {
	old, err := rotatedFiles(log.Path)
	if err != nil {
		return err
	}
	// With the file being rotated and the new one there will be two more.
	for len(old) > r.config.MaxFiles-2 {
		if err := os.Remove(old[0]); err != nil {
			return err
		}
		old = old[1:]
	}
	for _, path := range old {
		if !strings.HasSuffix(path, compressedSuffix) {
			if err := compress(path); err != nil {
				return err
			}
		}
	}
	rotated := log.Path + "." + time.Now().Format(rotatedLayout)
	if err := os.Rename(log.Path, rotated); err != nil {
		return err
	}
	if err := r.containers.ReopenLog(ctx, log.ContainerID); err != nil {
		return errors.Join(err, os.Rename(rotated, log.Path))
	}
	return nil
}

// rotatedFiles answers the files earlier rotations left, oldest first, and removes unfinished ones.
func rotatedFiles(path string) ([]string, error) {
	found, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, err
	}
	kept := found[:0]
	for _, name := range found {
		if strings.HasSuffix(name, unfinishedSuffix) {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		kept = append(kept, name)
	}
	slices.Sort(kept)
	return kept, nil
}

// compress replaces a file by its compressed form.
func compress(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	unfinished := path + unfinishedSuffix
	out, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	packer := gzip.NewWriter(out)
	_, err = io.Copy(packer, in)
	if err = errors.Join(err, packer.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, path+compressedSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}
