package script

import (
	"context"
	"fmt"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/hollow"
)

// step is how far time goes before nodes must have shown that they live, which they do every ten seconds.
const step = 10 * time.Second

// small is the longest time in which nodes are let live.
const small = 30 * time.Minute

func (c *cluster) setClock(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		ts.Check(c.pass(d))
	case !neg && len(args) == 4 && args[0] == "dst":
		before, err := time.ParseDuration(args[3])
		ts.Check(err)
		at, err := nextChange(c.clock.Now(), args[1], args[2] == "spring")
		ts.Check(err)
		ts.Setenv("DAY", at.Format(time.DateOnly))
		ts.Check(c.pass(at.Add(-before).Sub(c.clock.Now())))
	default:
		ts.Fatalf("usage: clock +DURATION | clock dst ZONE spring|autumn DURATION")
	}
}

func (c *cluster) setTime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: time NAME DURATION")
	}
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	ts.Setenv(args[0], c.clock.Now().Add(d).UTC().Format(time.RFC3339))
}

// pass lets d pass, in steps between which nodes that aren't silent renew their leases.
func (c *cluster) pass(d time.Duration) error {
	if d > small {
		c.clock.Jump(d)
		return nil
	}
	for ; d > 0; d -= step {
		c.clock.Jump(min(step, d))
		if err := c.renewed(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) renewed() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nodes, err := c.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, n := range nodes.Items {
		for n.Annotations[hollow.SilentAnnotation] != "true" {
			lease, err := c.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, n.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("node %s doesn't renew its lease: %w", n.Name, err)
			}
			if c.clock.Since(lease.Spec.RenewTime.Time) < step {
				break
			}
			<-tick.C
		}
	}
	return nil
}

// nextChange is when the zone's clocks go forward, or back, for the next time.
func nextChange(now time.Time, zone string, forward bool) (time.Time, error) {
	location, err := time.LoadLocation(zone)
	if err != nil {
		return now, err
	}
	for t := now.In(location); t.Sub(now) < 400*24*time.Hour; {
		_, end := t.ZoneBounds()
		if end.IsZero() {
			break
		}
		_, before := t.Zone()
		_, after := end.Zone()
		if after > before == forward {
			return end, nil
		}
		t = end
	}
	return now, fmt.Errorf("clocks in %s don't change", zone)
}
