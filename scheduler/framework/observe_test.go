package framework_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/scheduler/framework"
)

// ledger is an observer that writes down what it is told.
type ledger struct {
	lines []string
	calls map[string]int
}

func (l *ledger) Ran(profile, point string, code framework.Code, _ time.Duration) {
	l.lines = append(l.lines, fmt.Sprintf("%s %s %v", profile, point, code))
}

func (l *ledger) RanPlugin(plugin, point string, code framework.Code, _ time.Duration) {
	l.lines = append(l.lines, fmt.Sprintf("plugin %s %s %v", plugin, point, code))
}

func (l *ledger) Evaluations(profile, plugin, point string) func(int) {
	return func(calls int) { l.calls[profile+" "+plugin+" "+point] += calls }
}

func (l *ledger) Waited(code framework.Code, _ time.Duration) {
	l.lines = append(l.lines, fmt.Sprintf("waited %v", code))
}

// plain is a plugin that does all there is to do with pods, and turns down nodes and holds pods as told.
type plain struct {
	name, refuses string
	holds         bool
}

func (p plain) Name() string                               { return p.name }
func (plain) Less(framework.Queued, framework.Queued) bool { return false }
func (plain) PreFilter(context.Context, *framework.Cycle) (*framework.PreFilterResult, *framework.Status) {
	return nil, nil
}

func (p plain) Filter(_ context.Context, _ *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if node.Name() == p.refuses {
		return framework.NewStatus(framework.Unschedulable, "no")
	}
	return nil
}
func (plain) PreScore(context.Context, *framework.Cycle, []*framework.NodeInfo) *framework.Status {
	return nil
}
func (plain) Score(context.Context, *framework.Cycle, *framework.NodeInfo) (int64, *framework.Status) {
	return 1, nil
}
func (plain) NormalizeScore(context.Context, *framework.Cycle, []framework.NodeScore) *framework.Status {
	return nil
}
func (plain) Reserve(context.Context, *framework.Cycle, string) *framework.Status { return nil }
func (plain) Unreserve(context.Context, *framework.Cycle, string)                 {}
func (p plain) Permit(context.Context, *framework.Cycle, string) (*framework.Status, time.Duration) {
	if p.holds {
		return framework.NewStatus(framework.Wait), time.Hour
	}
	return nil, 0
}
func (plain) PreBind(context.Context, *framework.Cycle, string) *framework.Status { return nil }
func (plain) Bind(context.Context, *framework.Cycle, string) *framework.Status    { return nil }
func (plain) PostBind(context.Context, *framework.Cycle, string)                  {}

type nobody struct{}

func (nobody) NominatedPods(string) []*framework.PodInfo { return nil }

// run takes a pod through all extension points on three nodes, of which "b" is refused by the first plugin of two.
func run(t *testing.T, sampled bool) *ledger {
	t.Helper()
	l := &ledger{calls: map[string]int{}}
	points := framework.Everywhere([]framework.Enabled{{Plugin: plain{name: "X", refuses: "b"}, Weight: 1}, {Plugin: plain{name: "Y", holds: true}, Weight: 1}})
	points[framework.PointQueueSort] = points[framework.PointQueueSort][:1]
	f, err := framework.NewProfile(framework.Profile{Name: "p", Plugins: points, Observer: l}, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*framework.NodeInfo
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, (&framework.NodeInfo{}).WithNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	pod, err := framework.NewPodInfo(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, c := t.Context(), framework.NewCycle(pod, framework.NewSnapshot())
	c.Sampled = sampled
	f.PreFilter(ctx, c)
	statuses := make([]*framework.Status, 2)
	for i := range statuses {
		statuses[i] = f.Filter(ctx, c, nodes[i])
	}
	f.Filtered(ctx, c, time.Now(), nodes[0], statuses)
	if _, s := f.Score(ctx, c, nodes[:1]); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	f.Reserve(ctx, c, "a")
	f.Permit(ctx, c, "a")
	f.Allow(pod.Pod.UID, "Y")
	f.WaitOnPermit(ctx, pod)
	f.PreBind(ctx, c, "a")
	f.Bind(ctx, c, "a")
	f.PostBind(ctx, c, "a")
	f.Unreserve(ctx, c, "a")
	return l
}

func TestObserver(t *testing.T) {
	want := []string{
		"p PreFilter Success", "p Filter Success", "p PreScore Success", "p Score Success", "p Reserve Success",
		"p Permit Wait", "waited Success", "p PreBind Success", "p Bind Success", "p PostBind Success", "p Unreserve Success",
	}
	l := run(t, false)
	if !slices.Equal(l.lines, want) {
		t.Errorf("got  %q\nwant %q", l.lines, want)
	}
	for what, n := range map[string]int{
		"p X PreFilter": 1, "p Y PreFilter": 1, "p X Filter": 2, "p Y Filter": 1, "p X PreScore": 1, "p X Score": 1, "p Y Score": 1,
	} {
		if l.calls[what] != n {
			t.Errorf("%s: %d calls, want %d", what, l.calls[what], n)
		}
	}
	sampled := run(t, true)
	for _, point := range []string{"PreFilter", "Filter", "PreScore", "Score", "ScoreExtensionNormalize", "Reserve", "PreBind", "PostBind", "Unreserve"} {
		for _, plugin := range []string{"X", "Y"} {
			if line := "plugin " + plugin + " " + point + " Success"; !slices.Contains(sampled.lines, line) {
				t.Errorf("no %q in %q", line, sampled.lines)
			}
		}
	}
	for _, line := range []string{"plugin X Permit Success", "plugin Y Permit Wait", "plugin X Bind Success"} {
		if !slices.Contains(sampled.lines, line) {
			t.Errorf("no %q in %q", line, sampled.lines)
		}
	}
}

// TestObserverOfFailedSearch: nodes that are turned down are what filters are for, those that can't be judged are not.
func TestObserverOfFailedSearch(t *testing.T) {
	l := &ledger{calls: map[string]int{}}
	points := framework.Everywhere([]framework.Enabled{{Plugin: plain{name: "X"}}})
	f, err := framework.NewProfile(framework.Profile{Name: "p", Plugins: points, Observer: l}, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	failed, refused := framework.AsStatus(errors.New("failed")), framework.NewStatus(framework.Unschedulable, "no")
	for _, statuses := range [][]*framework.Status{{nil, refused}, {refused, failed, refused}} {
		f.Filtered(t.Context(), framework.NewCycle(nil, framework.NewSnapshot()), time.Now(), nil, statuses)
	}
	if want := []string{"p Filter Success", "p Filter Error"}; !slices.Equal(l.lines, want) {
		t.Errorf("got  %q\nwant %q", l.lines, want)
	}
}
