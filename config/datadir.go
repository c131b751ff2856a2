package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dataFormat is the layout of the data directory that this skiff reads and
// writes; it grows when an older skiff could no longer use the directory.
const dataFormat = 1

const formatFile = "format"

// CheckDataDir reports a data directory that this skiff can't use. It changes
// nothing on disk.
func (c *Config) CheckDataDir() error {
	info, err := os.Stat(c.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Error{"data-dir", "can't be read: " + err.Error(), "give a directory that this user may write"}
	}
	if !info.IsDir() {
		return &Error{"data-dir", c.DataDir + " is not a directory", "move the file away, or give another path"}
	}
	name := filepath.Join(c.DataDir, formatFile)
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Error{"data-dir", "can't be read: " + err.Error(), "give a directory that this user may read"}
	}
	format, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return &Error{"data-dir", fmt.Sprintf("%s does not hold a number", name), "restore the directory from a backup, or give another"}
	}
	if format > dataFormat {
		return &Error{"data-dir", fmt.Sprintf("%s was written by a newer skiff (format %d, this one knows %d)", c.DataDir, format, dataFormat), "start it with that version of skiff, or give another data directory"}
	}
	return nil
}

// LockDataDir makes the data directory and holds it until unlock is called or
// the process ends, so that two servers never share one.
func (c *Config) LockDataDir() (unlock func() error, err error) {
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil {
		return nil, &Error{"data-dir", "can't be made: " + err.Error(), "give a directory that this user may write"}
	}
	f, err := os.OpenFile(filepath.Join(c.DataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, &Error{"data-dir", "can't be written: " + err.Error(), "give a directory that this user may write"}
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &Error{"data-dir", c.DataDir + " is in use by another skiff server", "stop that server, or give this one a directory of its own"}
	}
	name := filepath.Join(c.DataDir, formatFile)
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(name, []byte(strconv.Itoa(dataFormat)+"\n"), 0o644); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("marking the data directory: %w", err)
		}
	}
	if err := writePID(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return f.Close, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// ServerPID answers the process that holds the data directory, 0 when none does.
func (c *Config) ServerPID() (int, error) {
	f, err := os.Open(filepath.Join(c.DataDir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("finding the server: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, nil
	}
	var pid int
	if _, err := fmt.Fscan(f, &pid); err != nil {
		return 0, fmt.Errorf("finding the server: %s names no process: %w", f.Name(), err)
	}
	return pid, nil
}
