package plugins_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

// TestAddedAffinity: affinity of the configuration binds and draws every pod, besides its own.
func TestAddedAffinity(t *testing.T) {
	zoneA := expr("zone", corev1.NodeSelectorOpIn, "a")
	p, err := plugins.NewNodeAffinityWith(&corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution:  &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{zoneA}},
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 5, Preference: expr("disk", corev1.NodeSelectorOpExists)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const outside = "UU: node(s) didn't match scheduler-enforced node affinity"
	w := newWorld(t, []*corev1.Node{makeNode("a", labels("zone", "a")), makeNode("b", labels("zone", "b")), makeNode("fast", labels("zone", "a", "disk", "ssd"))})
	for _, test := range []struct {
		pod    *corev1.Pod
		want   map[string]string
		scores map[string]int64
	}{
		{makePod("p"), map[string]string{"a": fits, "b": outside, "fast": fits}, map[string]int64{"a": 0, "b": 0, "fast": 5}},
		{makePod("p", selectNodes("disk", "ssd"), preferNodes(3, zoneA)), map[string]string{"a": noSelector, "b": outside, "fast": fits}, map[string]int64{"a": 3, "b": 0, "fast": 8}},
	} {
		c := framework.NewCycle(info(t, test.pod), w.cache.Snapshot())
		if _, s := p.PreFilter(t.Context(), c); !s.IsSuccess() {
			t.Fatal(describe(s))
		}
		if s := p.PreScore(t.Context(), c, c.Snapshot.Nodes()); !s.IsSuccess() {
			t.Fatal(describe(s))
		}
		for _, n := range c.Snapshot.Nodes() {
			if got := describe(p.Filter(t.Context(), c, n)); got != test.want[n.Name()] {
				t.Errorf("node %s: %q, want %q", n.Name(), got, test.want[n.Name()])
			}
			if score, _ := p.Score(t.Context(), c, n); score != test.scores[n.Name()] {
				t.Errorf("node %s scores %d, want %d", n.Name(), score, test.scores[n.Name()])
			}
		}
	}
	if _, err := plugins.NewNodeAffinityWith(&corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{expr("zone", "Near", "a")},
	}}); err == nil {
		t.Error("an operator that isn't one is taken")
	}
}
