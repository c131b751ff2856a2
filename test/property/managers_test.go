package property

import (
	"context"
	"testing"
	"time"

	"skiff/controllers"
	"skiff/test/control"
)

// never is longer than any test: nodes are silent when a history says so, not when a clock jumps.
const never = 1000 * time.Hour

// patient keeps the manager from finding nodes silent by itself.
func patient(cfg *controllers.Config) {
	cfg.NodeMonitorGrace, cfg.NodeStartupGrace = never, never
}

// supervise runs one manager after the other, each until its crash, and the last until stop is called, which also
// waits for its end.
func supervise(t testing.TB, p *control.Plane, crashes []crash) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- lives(ctx, p, crashes) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("managers: %v", err)
		}
	}
}

func lives(ctx context.Context, p *control.Plane, crashes []crash) error {
	for _, c := range append(crashes[:len(crashes):len(crashes)], crash{}) {
		life, die := context.WithCancel(ctx)
		f := &faults{crash: c, die: die}
		err := p.Manager(life, patient, f.wrap)
		die()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}
