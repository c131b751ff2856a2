package property

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers"
)

// server is one of two servers' managers, which take turns.
type server struct {
	faults *faults
	stop   func()
}

// start runs a manager that waits for its turn.
func (c *cluster) start(t *testing.T) server {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s := server{faults: &faults{die: cancel}}
	ended := make(chan error, 1)
	go func() {
		ended <- c.Manager(ctx, func(cfg *controllers.Config) { patient(cfg); cfg.LeaderElect = true }, s.faults.wrap)
	}()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("manager: %v", err)
		}
	}
	return s
}

// leader is who holds the lease, "" if nobody does.
func (c *cluster) leader(ctx context.Context) string {
	lease, err := c.Client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "kube-controller-manager", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// TestTwoServersTakeTurns: while one leads the other writes nothing, and the work goes on when the first one ends.
func TestTwoServersTakeTurns(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	first := c.start(t)
	led := c.await(t, "")
	second := c.start(t)
	defer second.stop()
	rollout := func(namespace string) {
		t.Helper()
		broken, err := c.play(t, namespace, []action{{What: "image", On: "deployment", N: 1}, {What: "rest"}, {What: "scale", On: "statefulset", N: 4}})
		if err != nil {
			t.Fatal(err)
		}
		if len(broken) > 0 {
			t.Error(strings.Join(broken, "\n"))
		}
	}
	rollout("under-the-first")
	if n := second.faults.wrote(); n != 0 {
		t.Errorf("the second server wrote %d times while %s led", n, c.leader(ctx))
	}
	first.stop()
	before := first.faults.wrote()
	c.await(t, led)
	rollout("under-the-second")
	if second.faults.wrote() == 0 || first.faults.wrote() != before {
		t.Errorf("the second server wrote %d times, the first %d more", second.faults.wrote(), first.faults.wrote()-before)
	}
}

// await waits until another than the given one leads.
func (c *cluster) await(t *testing.T, not string) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		select {
		case <-deadline:
			t.Fatal(fmt.Errorf("nobody but %q leads", not))
		case <-tick.C:
		}
		if who := c.leader(t.Context()); who != "" && who != not {
			return who
		}
	}
}
