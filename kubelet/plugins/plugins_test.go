package plugins

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// handler notes what it was asked.
type handler struct {
	mu   sync.Mutex
	gone []string
}

func (*handler) Register(context.Context, string, string, []string) error { return nil }

func (h *handler) Deregister(_ context.Context, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = append(h.gone, name)
}

func listen(t *testing.T, path string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
}

// TestSocketsAreFoundWithoutEvents is of a host that has no inotify watch to spare.
func TestSocketsAreFoundWithoutEvents(t *testing.T) {
	w, err := New(Config{Root: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(w.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(w.dir, "a.sock")
	listen(t, socket)
	events, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Close(); err != nil { // what adds to it fails from now on
		t.Fatal(err)
	}
	found, err := w.list(events)
	if err == nil {
		t.Error("that events are missing is no error")
	}
	if _, ok := found[socket]; !ok {
		t.Errorf("found %v", found)
	}
}

// TestAPluginWithTwoSocketsStaysWithTheLastOne is of a driver whose new pod registers before the old one's socket is gone.
func TestAPluginWithTwoSocketsStaysWithTheLastOne(t *testing.T) {
	driver := &plugin{"CSIPlugin", "x"}
	for name, c := range map[string]struct {
		left  string
		gone  []string
		again bool // whether what is left registers again
	}{
		"the old socket goes": {"new", nil, false},
		"the new socket goes": {"old", []string{"x"}, true},
	} {
		h := &handler{}
		w, err := New(Config{Root: t.TempDir()}, map[string]Handler{"CSIPlugin": h})
		if err != nil {
			t.Fatal(err)
		}
		w.known = map[string]*state{"old": {registered: driver, taken: 1}, "new": {registered: driver, taken: 2}}
		found := map[string]identity{c.left: {}}
		w.act(t.Context(), found)
		w.workers.Wait()
		if !slices.Equal(h.gone, c.gone) {
			t.Errorf("%s: let go %v", name, h.gone)
		}
		steps, _ := plan(found, w.known, time.Now())
		if again := slices.Contains(steps, step{c.left, true}); again != c.again {
			t.Errorf("%s: then %v", name, steps)
		}
	}
}
