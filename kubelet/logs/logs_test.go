package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sampleLog = `2026-01-01T00:00:01.5Z stdout F one
2026-01-01T00:00:02.123456789+02:00 stderr F two
garbage that a crash left
2026-01-01T00:00:03Z stdout P thr
2026-01-01T00:00:03.1Z stdout P e
2026-01-01T00:00:03.2Z stdout F e
2026-01-01T00:00:04Z stdout F 
2026-01-01T00:00:05Z stdout F:tag five with  spaces
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := write(t, sampleLog)
	at := func(seconds int) time.Time { return time.Date(2026, 1, 1, 0, 0, seconds, 0, time.UTC) }
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"all":             {Options{}, "one\ntwo\nthree\n\nfive with  spaces\n"},
		"one stream":      {Options{Stream: Stderr}, "two\n"},
		"tail 0":          {Options{Tail: ptr.To[int64](0)}, ""},
		"tail 1":          {Options{Tail: ptr.To[int64](1)}, "five with  spaces\n"},
		"tail over parts": {Options{Tail: ptr.To[int64](3)}, "three\n\nfive with  spaces\n"},
		"tail of more":    {Options{Tail: ptr.To[int64](99)}, "one\ntwo\nthree\n\nfive with  spaces\n"},
		"since":           {Options{Since: at(4)}, "\nfive with  spaces\n"},
		"bytes":           {Options{LimitBytes: ptr.To[int64](5)}, "one\nt"},
		"bytes at an end": {Options{LimitBytes: ptr.To[int64](4)}, "one\n"},
		"times once a line": {
			Options{Timestamps: true, Tail: ptr.To[int64](3)},
			"2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z \n2026-01-01T00:00:05.000000000Z five with  spaces\n",
		},
		"times in their zone": {Options{Timestamps: true, Stream: Stderr}, "2026-01-01T00:00:02.123456789+02:00 two\n"},
	} {
		var out bytes.Buffer
		if err := Read(t.Context(), Source{Path: path}, c.options, &out); err != nil || out.String() != c.want {
			t.Errorf("%s: %q (%v), want %q", name, out.String(), err, c.want)
		}
	}
	if err := Read(t.Context(), Source{Path: path + ".no"}, Options{}, io.Discard); err == nil {
		t.Error("a missing file was read")
	}
}

// TestTailIsTheEndOfAll holds what tail answers against what a whole read does, over block borders too.
func TestTailIsTheEndOfAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(0, 12).Draw(rt, "lines") {
			tag := rapid.SampledFrom([]string{"F", "F", "P"}).Draw(rt, "tag")
			length := rapid.SampledFrom([]int{0, 1, 10, 5000, tailBlock - 50, tailBlock + 3}).Draw(rt, "length")
			fmt.Fprintf(&text, "2026-01-01T00:00:01Z stdout %s %s\n", tag, strings.Repeat("x", length))
		}
		path := filepath.Join(dir, "0.log")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			rt.Fatal(err)
		}
		var all bytes.Buffer
		if err := Read(t.Context(), Source{Path: path}, Options{}, &all); err != nil {
			rt.Fatal(err)
		}
		lines := strings.SplitAfter(all.String(), "\n")
		if lines[len(lines)-1] == "" && !strings.Contains(lastLine(text.String()), " P ") {
			lines = lines[:len(lines)-1]
		}
		n := rapid.IntRange(0, 10).Draw(rt, "n")
		want := strings.Join(lines[max(0, len(lines)-n):], "")
		var got bytes.Buffer
		if err := Read(t.Context(), Source{Path: path}, Options{Tail: new(int64(n))}, &got); err != nil || got.String() != want {
			rt.Fatalf("the last %d of %d lines have %d bytes (%v), want %d", n, len(lines), got.Len(), err, len(want))
		}
	})
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1]
}

func FuzzParse(f *testing.F) {
	for line := range strings.Lines(sampleLog) {
		f.Add([]byte(line))
	}
	f.Add([]byte("2026-01-01T00:00:04Z stdout F"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		line, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, errFormat) {
				t.Errorf("%q fails with %v", raw, err)
			}
			return
		}
		if line.Stream != Stdout && line.Stream != Stderr {
			t.Errorf("%q is of stream %q", raw, line.Stream)
		}
		tag := "F"
		if line.Partial {
			tag = "P"
		}
		again, err := Parse(fmt.Appendf(nil, "%s %s %s %s\n", line.Time.Format(time.RFC3339Nano), line.Stream, tag, line.Content))
		if err != nil || !again.Time.Equal(line.Time) || !bytes.Equal(again.Content, line.Content) || again.Partial != line.Partial {
			t.Errorf("%q is %+v, written again %+v (%v)", raw, line, again, err)
		}
	})
}

// sink is an output that can be awaited.
type sink struct {
	mu      sync.Mutex
	text    bytes.Buffer
	flushed chan struct{}
}

func newSink() *sink { return &sink{flushed: make(chan struct{}, 1)} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) Flush() error {
	select {
	case s.flushed <- struct{}{}:
	default:
	}
	return nil
}

func (s *sink) await(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		s.mu.Lock()
		got := s.text.String()
		s.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-s.flushed:
		case <-timeout:
			t.Fatalf("the follower wrote %q, want %q", got, want)
		}
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFollowOverRotationToTheEnd(t *testing.T) {
	t.Parallel()
	path := write(t, "2026-01-01T00:00:01Z stdout F old\n2026-01-01T00:00:01Z stdout F one\n")
	var running atomic.Bool
	running.Store(true)
	out, done := newSink(), make(chan error, 1)
	go func() {
		done <- Read(t.Context(), Source{Path: path, Running: running.Load}, Options{Follow: true, Tail: ptr.To[int64](1)}, out)
	}()
	out.await(t, "one\n")
	appendTo(t, path, "2026-01-01T00:00:02Z stdout F tw")
	appendTo(t, path, "o\n")
	out.await(t, "one\ntwo\n")
	appendTo(t, path, "2026-01-01T00:00:03Z stdout F three\n")
	if err := os.Rename(path, path+".20260101-000000"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "2026-01-01T00:00:04Z stdout F four\n")
	out.await(t, "one\ntwo\nthree\nfour\n")
	appendTo(t, path, "2026-01-01T00:00:05Z stdout F five\n")
	running.Store(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	out.await(t, "one\ntwo\nthree\nfour\nfive\n")
}

func TestFollowEndsWithItsReader(t *testing.T) {
	t.Parallel()
	path := write(t, "2026-01-01T00:00:01Z stdout F one\n")
	ctx, cancel := context.WithCancel(t.Context())
	out, done := newSink(), make(chan error, 1)
	go func() {
		done <- Read(ctx, Source{Path: path, Running: func() bool { return true }}, Options{Follow: true}, out)
	}()
	out.await(t, "one\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// writers is a runtime that writes logs: it opens a new file when told.
type writers struct {
	logs     []Running
	reopened []string
	fail     error
}

func (w *writers) RunningLogs(context.Context) ([]Running, error) { return w.logs, nil }

func (w *writers) ReopenLog(_ context.Context, id string) error {
	if w.fail != nil {
		return w.fail
	}
	w.reopened = append(w.reopened, id)
	for _, log := range w.logs {
		if log.ContainerID == id {
			return os.WriteFile(log.Path, nil, 0o600)
		}
	}
	return nil
}

func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large, small := filepath.Join(dir, "large.log"), filepath.Join(dir, "small.log")
	w := &writers{logs: []Running{{"large", large}, {"small", small}}}
	r := NewRotator(RotationConfig{MaxSize: 100, MaxFiles: 3}, w)
	appendTo(t, small, "x")
	for i := range 5 {
		// The names of rotated files tell seconds; these were rotated before.
		if i > 0 {
			newest := rotated(t, large)
			if err := os.Rename(newest[len(newest)-1], fmt.Sprintf("%s.2020010%d-000000", large, i)); err != nil {
				t.Fatal(err)
			}
		}
		appendTo(t, large, strings.Repeat(fmt.Sprint(i), 100))
		if err := r.RotateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := len(rotated(t, large)), min(i+1, 2); got != want {
			t.Errorf("after %d rotations there are %d old files, want %d", i+1, got, want)
		}
	}
	if len(w.reopened) != 5 || slices.Contains(w.reopened, "small") {
		t.Errorf("reopened %v", w.reopened)
	}
	old := rotated(t, large)
	file, err := os.Open(old[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(unpacked); err != nil || string(data) != strings.Repeat("3", 100) {
		t.Errorf("the compressed file holds %q (%v)", data, err)
	}
}

func rotated(t *testing.T, path string) []string {
	t.Helper()
	found, err := rotatedFiles(path)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRotationThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "0.log")
	w := &writers{logs: []Running{{"c", path}}, fail: errors.New("the runtime is away")}
	r := NewRotator(RotationConfig{MaxSize: 10}, w)
	appendTo(t, path, "0123456789")
	if err := r.RotateAll(t.Context()); err == nil {
		t.Error("the failure was not told")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "0123456789" {
		t.Errorf("the log holds %q (%v)", data, err)
	}
	// Killed between the renaming and the new file: the next look makes one.
	if err := os.Rename(path, path+".20200101-000000"); err != nil {
		t.Fatal(err)
	}
	w.fail = nil
	if err := r.RotateAll(t.Context()); err != nil || len(w.reopened) != 1 {
		t.Errorf("reopened %v (%v)", w.reopened, err)
	}
}
