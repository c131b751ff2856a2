package plugins_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

// TestSpreadBySelectorOfAll: a selector that picks all pods counts none of those there, but the pod itself.
func TestSpreadBySelectorOfAll(t *testing.T) {
	all := func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = &metav1.LabelSelector{} }
	w := newWorld(t, []*corev1.Node{makeNode("a", labels("zone", "a")), makeNode("b", labels("zone", "b"))}, makePod("x", at("a")), makePod("y", at("a")))
	for node, got := range w.verdicts(makePod("p", spread(1, "zone", corev1.DoNotSchedule, all))) {
		if got != fits {
			t.Errorf("node %s: %q", node, got)
		}
	}
}

// TestTerminatingPodsLeaveTheSpread: a what-if without a pod on its way out no longer counts it, as upstream.
func TestTerminatingPodsLeaveTheSpread(t *testing.T) {
	counted := podLabels("app", "a")
	leaving := makePod("leaving", at("a"), counted, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Unix(1700000000, 0)) })
	w := newWorld(t, []*corev1.Node{makeNode("a", labels("zone", "a")), makeNode("b", labels("zone", "b"))}, makePod("stays", at("a"), counted), leaving)
	c := framework.NewCycle(info(t, makePod("p", counted, spread(1, "zone", corev1.DoNotSchedule))), w.cache.Snapshot())
	if _, _, s := w.framework.PreFilter(t.Context(), c); !s.IsSuccess() {
		t.Fatal(describe(s))
	}
	node, _ := c.Snapshot.Node("a")
	if got := describe(w.framework.Filter(t.Context(), c, node)); got != skewed {
		t.Errorf("before: %q", got)
	}
	without := node.WithoutPod(leaving.UID)
	w.framework.RemovePod(t.Context(), c, info(t, leaving), without)
	if got := describe(w.framework.Filter(t.Context(), c, without)); got != fits {
		t.Errorf("after: %q", got)
	}
}

// TestConfiguredSpread: constraints of the configuration are those of pods that name none and that a service or controller
// selects; nodes must have all their keys.
func TestConfiguredSpread(t *testing.T) {
	zone := func(when corev1.UnsatisfiableConstraintAction) corev1.TopologySpreadConstraint {
		return corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: when}
	}
	listed := func(constraints ...corev1.TopologySpreadConstraint) *schedv1.PodTopologySpreadArgs {
		return &schedv1.PodTopologySpreadArgs{DefaultingType: schedv1.ListDefaulting, DefaultConstraints: constraints}
	}
	counted := podLabels("app", "a")
	w := newWorld(t, []*corev1.Node{makeNode("a", labels("zone", "a")), makeNode("b", labels("zone", "b")), makeNode("c")}, makePod("x", at("a"), counted))
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "a"}}}
	if err := w.factory.Core().V1().Services().Informer().GetStore().Add(service); err != nil {
		t.Fatal(err)
	}
	p := plugins.NewPodTopologySpread(w.deps(), listed(zone(corev1.DoNotSchedule), zone(corev1.ScheduleAnyway)))
	c := framework.NewCycle(info(t, makePod("p", counted)), w.cache.Snapshot())
	if _, s := p.PreFilter(t.Context(), c); !s.IsSuccess() {
		t.Fatal(describe(s))
	}
	if s := p.PreScore(t.Context(), c, c.Snapshot.Nodes()); !s.IsSuccess() {
		t.Fatal(describe(s))
	}
	var scores []framework.NodeScore
	for _, n := range c.Snapshot.Nodes() {
		want := map[string]string{"a": skewed, "b": fits, "c": keyless}[n.Name()]
		if got := describe(p.Filter(t.Context(), c, n)); got != want {
			t.Errorf("node %s: %q, want %q", n.Name(), got, want)
		}
		score, _ := p.Score(t.Context(), c, n)
		scores = append(scores, framework.NodeScore{Node: n, Score: score})
	}
	p.NormalizeScore(t.Context(), c, scores)
	for _, s := range scores {
		if want := map[string]int64{"a": 0, "b": 100, "c": 0}[s.Node.Name()]; s.Score != want {
			t.Errorf("node %s scores %d, want %d", s.Node.Name(), s.Score, want)
		}
	}
	for name, pod := range map[string]*corev1.Pod{"of no service": makePod("q"), "with constraints of its own": makePod("r", counted, spread(5, "zone", corev1.ScheduleAnyway))} {
		if _, s := p.PreFilter(t.Context(), framework.NewCycle(info(t, pod), w.cache.Snapshot())); !s.IsSkip() {
			t.Errorf("a pod %s is filtered: %q", name, describe(s))
		}
	}
	if _, s := plugins.NewPodTopologySpread(w.deps(), listed()).PreFilter(t.Context(), c); !s.IsSkip() {
		t.Errorf("without constraints: %q", describe(s))
	}
	if s := plugins.NewPodTopologySpread(w.deps(), listed()).PreScore(t.Context(), c, c.Snapshot.Nodes()); !s.IsSkip() {
		t.Errorf("without constraints, scoring: %q", describe(s))
	}
}
