package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// endCheck is how often a follower looks whether the container still runs: its end writes nothing.
const endCheck = 500 * time.Millisecond

// follow writes out what there is and what comes, until the container has ended and all of its log is written.
func (r *reader) follow(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching a log: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	// The directory is watched, because rotation replaces the file.
	if err := watcher.Add(filepath.Dir(r.source.Path)); err != nil {
		return fmt.Errorf("watching a log: %w", err)
	}
	ticker := time.NewTicker(endCheck)
	defer ticker.Stop()
	for {
		ended := r.source.Running == nil || !r.source.Running()
		if err := r.catchUp(ctx, ended); err != nil || ended {
			return err
		}
		if err := r.out.flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-watcher.Events:
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watching a log: %w", err)
			}
		}
	}
}

// catchUp writes out all there is, in the file that is open and the one that has replaced it.
func (r *reader) catchUp(ctx context.Context, ended bool) error {
	for {
		replaced, err := r.replaced()
		if err != nil {
			return err
		}
		// Asked before draining: nothing is added to a file after it was replaced.
		if err := r.drain(ctx, ended || replaced); err != nil || !replaced {
			return err
		}
		if err := r.reopen(); err != nil {
			return err
		}
	}
}

// replaced says whether another file has taken the place of the open one, or the open one was cut.
func (r *reader) replaced() (bool, error) {
	current, err := os.Stat(r.source.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // between the renaming and the new file
	}
	if err != nil {
		return false, fmt.Errorf("examining a log: %w", err)
	}
	open, err := r.file.Stat()
	if err != nil {
		return false, fmt.Errorf("examining a log: %w", err)
	}
	return !os.SameFile(current, open), nil
}

func (r *reader) reopen() error {
	file, err := os.Open(r.source.Path)
	if err != nil {
		return fmt.Errorf("opening a rotated log: %w", err)
	}
	_ = r.file.Close()
	r.file, r.lines, r.partial = file, bufio.NewReader(file), nil
	return nil
}
