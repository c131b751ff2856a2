//go:build bench

package controllers

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"skiff/test/bench/sides"
)

var profiles = flag.String("profile", "", "directory for profiles of skiff's controllers, one directory a story")

// TestProfile tells the chosen stories to skiff's controllers alone, in a process that is profiled, and looks
// at the steady state with one more.
func TestProfile(t *testing.T) {
	if *profiles == "" {
		t.Skip("needs -profile DIR")
	}
	w := newWorld(t)
	w.profiled(t, "stories", func(m *sides.Program, ns string) {
		for _, s := range chosen() {
			measure(t, w, m, s, ns)
		}
	})
	w.profiled(t, "steady", func(m *sides.Program, _ string) {
		got := results{}
		steady(t, w, m, got)
		t.Logf("%.2f %% of a core, %.0f MB", got["CPU with 10,000 pods"], got["memory with 10,000 pods"])
	})
}

// profiled lets do happen under controllers whose profiles are kept by name.
func (w *world) profiled(t testing.TB, name string, do func(m *sides.Program, ns string)) {
	t.Helper()
	dir := filepath.Join(*profiles, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := sides.SkiffManager(t, w.api, dir)
	defer m.Stop(t)
	w.namespace(t, "in-"+name)
	w.settled(t)
	do(m, "in-"+name)
}
