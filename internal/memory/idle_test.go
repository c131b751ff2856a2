package memory

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTooMuch(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, c := range []struct {
		name              string
		grown, held, live uint64
		want              bool
	}{
		{"nothing is held", 0, 0, 50 * mb, false},
		{"little is held", 0, 15 * mb, 40 * mb, false},
		{"much is held and nothing happens", 0, 400 * mb, 500 * mb, true},
		{"much is held and little happens", 5 * mb, 400 * mb, 500 * mb, true},
		{"much is held and much happens", 200 * mb, 400 * mb, 50 * mb, false},
		{"what little happens has gathered", 5 * mb, 19 * mb, 50 * mb, false},
		{"as much is held as is usual", 0, 100 * mb, 400 * mb, false},
	} {
		if got := tooMuch(c.grown, c.held, c.live); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestIdleness makes garbage that is not collected by itself.
func TestIdleness(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	debug.FreeOSMemory() // what tests before held
	i := newIdleness()
	for range 64 {
		waste(1 << 20)
	}
	if i.holdsTooMuch() {
		t.Error("a busy process holds too much")
	}
	if !i.holdsTooMuch() {
		t.Error("an idle process with 64 MB of garbage does not hold too much")
	}
	runtime.GC()
	if !i.holdsTooMuch() {
		t.Error("an idle process with 64 MB of room does not hold too much")
	}
	debug.FreeOSMemory()
	if i.holdsTooMuch() {
		t.Error("a process that gave back what it could holds too much")
	}
}

//go:noinline
func waste(n int) byte {
	b := make([]byte, n)
	return b[n/2]
}
