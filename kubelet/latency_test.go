package kubelet

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestLatency measures what users wait for. It fails only on what is plainly broken, since machines differ.
func TestLatency(t *testing.T) {
	f := start(t)
	var starts, ends []time.Duration
	for i := range 5 {
		name := fmt.Sprintf("p%d", i)
		begun := time.Now()
		f.create(newPod(name, forever))
		f.await(name, "ready", ready)
		starts = append(starts, time.Since(begun))
		begun = time.Now()
		f.delete(name)
		f.await(name, "gone", gone)
		ends = append(ends, time.Since(begun))
	}
	slices.Sort(starts)
	slices.Sort(ends)
	t.Logf("one pod: create to ready %v, delete to gone %v (medians of 5)", starts[2], ends[2])
	const many = 10
	begun := time.Now()
	for i := range many {
		f.create(newPod(fmt.Sprintf("m%d", i), forever))
	}
	for i := range many {
		f.await(fmt.Sprintf("m%d", i), "ready", ready)
	}
	t.Logf("%d pods at once: %v", many, time.Since(begun))
	if starts[2] > 10*time.Second || ends[2] > 10*time.Second {
		t.Error("pods take longer than 10 s")
	}
	for i := range many {
		f.delete(fmt.Sprintf("m%d", i))
	}
	for i := range many {
		f.await(fmt.Sprintf("m%d", i), "gone", gone)
	}
}
