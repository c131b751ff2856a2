package nodelifecycle

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestZones(t *testing.T) {
	in := func(zone string, status corev1.ConditionStatus) *corev1.Node {
		n := node(is(corev1.NodeReady, status))
		n.Labels = map[string]string{corev1.LabelTopologyZone: zone}
		return n
	}
	zones := Zones([]*corev1.Node{in("a", "True"), in("a", "Unknown"), in("b", "False"), node(), node(is(corev1.NodeReady, "True"))})
	var got []Zone
	for _, z := range zones {
		got = append(got, z)
	}
	slices.SortFunc(got, func(a, b Zone) int { return (a.Ready*10 + a.NotReady) - (b.Ready*10 + b.NotReady) })
	if want := []Zone{{0, 1}, {1, 1}, {1, 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if Down(zones) || !Down(Zones([]*corev1.Node{in("a", "Unknown"), in("b", "False")})) {
		t.Error("whether all are down is not seen")
	}
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		name  string
		zone  Zone
		every time.Duration
		ok    bool
	}{
		{"one of three", Zone{2, 1}, 10 * time.Second, true},
		{"two of three", Zone{1, 2}, 10 * time.Second, true},
		{"three of five", Zone{2, 3}, 0, false},
		{"three of six", Zone{3, 3}, 10 * time.Second, true},
		{"most of a large zone", Zone{20, 31}, 100 * time.Second, true},
		{"all of one zone", Zone{0, 5}, 10 * time.Second, true},
	} {
		if every, ok := tt.zone.Interval(); every != tt.every || ok != tt.ok {
			t.Errorf("%s: %s, %v", tt.name, every, ok)
		}
	}
}

func TestPace(t *testing.T) {
	p, few := pace{}, Zone{4, 2}
	steps := []struct {
		zone  string
		state Zone
		after time.Duration
		again time.Duration
		ok    bool
	}{
		{"a", few, 0, 0, true},
		{"a", few, 4 * time.Second, 6 * time.Second, false},
		{"b", few, 4 * time.Second, 0, true},
		{"a", few, 10 * time.Second, 0, true},
		{"a", Zone{1, 4}, time.Hour, 0, false},
	}
	for i, s := range steps {
		if again, ok := p.take(s.zone, s.state, epoch().Add(s.after)); again != s.again || ok != s.ok {
			t.Errorf("step %d: %s, %v", i, again, ok)
		}
	}
}

func TestHeldNodesKeepWhatTheyHave(t *testing.T) {
	unknown := node(is(corev1.NodeReady, corev1.ConditionUnknown))
	s := snapshot(unknown, 0, Health{})
	if p := NewPlan(s); !p.Drives || p.Ready {
		t.Errorf("a silent node: %+v", p)
	}
	s.Held = true
	if p := NewPlan(s); p.Drives || !slices.Equal(keys(p.Taints), []string{"node.kubernetes.io/unreachable:NoSchedule"}) {
		t.Errorf("a held node: %+v", p)
	}
	unknown.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}
	if p := NewPlan(s); p.Drives || !slices.Contains(keys(p.Taints), "node.kubernetes.io/unreachable:NoExecute") {
		t.Errorf("a held node that was given up: %+v", p)
	}
	if p := NewPlan(snapshot(node(is(corev1.NodeReady, corev1.ConditionTrue)), 0, Health{})); !p.Ready || p.Drives {
		t.Errorf("a ready node: %+v", p)
	}
}
