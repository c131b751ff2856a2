package stack

import (
	"sync"
	"testing"
)

func TestReserveAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, Reserve); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// descend uses about 24 KB of stack in many frames.
//
//go:noinline
func descend(depth int) int {
	var frame [100]byte
	if depth == 0 {
		return 0
	}
	frame[depth%len(frame)] = 1
	return descend(depth-1) + int(frame[depth%7])
}

func BenchmarkGoroutine(b *testing.B) {
	for name, first := range map[string]func(){"grown": func() {}, "reserved": Reserve} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var join sync.WaitGroup
				join.Go(func() {
					first()
					descend(150)
				})
				join.Wait()
			}
		})
	}
}
