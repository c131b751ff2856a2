package nodelifecycle

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func node(conditions ...corev1.NodeCondition) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Conditions: conditions}}
}

func is(kind corev1.NodeConditionType, status corev1.ConditionStatus) corev1.NodeCondition {
	return corev1.NodeCondition{Type: kind, Status: status, LastHeartbeatTime: metav1.NewTime(epoch())}
}

func snapshot(n *corev1.Node, after time.Duration, h Health) Snapshot {
	return Snapshot{Node: n, Health: h, Grace: Grace{RunningGrace, StartingGrace}, Now: epoch().Add(after)}
}

func keys(taints []corev1.Taint) []string {
	var all []string
	for _, t := range taints {
		all = append(all, t.Key+":"+string(t.Effect))
	}
	return all
}

func TestConditionsBecomeTaints(t *testing.T) {
	tests := []struct {
		name string
		node *corev1.Node
		down bool
		want []string
	}{
		{"ready", node(is(corev1.NodeReady, corev1.ConditionTrue)), false, nil},
		{"not ready", node(is(corev1.NodeReady, corev1.ConditionFalse)), false, []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}},
		{"unknown", node(is(corev1.NodeReady, corev1.ConditionUnknown)), false, []string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}},
		{"unknown like all others", node(is(corev1.NodeReady, corev1.ConditionUnknown)), true, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"pressure", node(is(corev1.NodeReady, corev1.ConditionTrue), is(corev1.NodeMemoryPressure, corev1.ConditionTrue), is(corev1.NodeDiskPressure, corev1.ConditionTrue), is(corev1.NodePIDPressure, corev1.ConditionFalse)),
			false, []string{"node.kubernetes.io/memory-pressure:NoSchedule", "node.kubernetes.io/disk-pressure:NoSchedule"}},
		{"cordoned", func() *corev1.Node {
			n := node(is(corev1.NodeReady, corev1.ConditionTrue))
			n.Spec.Unschedulable = true
			return n
		}(), false, []string{"node.kubernetes.io/unschedulable:NoSchedule"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := snapshot(tt.node, 0, Health{})
			s.Down = tt.down
			if got := keys(NewPlan(s).Taints); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTaintsOfOthersStayAndOldOnesGo(t *testing.T) {
	n := node(is(corev1.NodeReady, corev1.ConditionTrue))
	n.Spec.Taints = []corev1.Taint{
		{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}, {Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoExecute},
	}
	got := keys(NewPlan(snapshot(n, 0, Health{})).Taints)
	if want := []string{"dedicated:NoSchedule", "node.kubernetes.io/memory-pressure:NoExecute"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSilence(t *testing.T) {
	n := node(is(corev1.NodeReady, corev1.ConditionTrue), is(corev1.NodeMemoryPressure, corev1.ConditionFalse))
	first := NewPlan(snapshot(n, 0, Health{}))
	if first.After != RunningGrace || first.Conditions != nil || first.NotReady {
		t.Fatalf("a node seen for the first time: %+v", first)
	}
	if p := NewPlan(snapshot(n, RunningGrace-time.Second, first.Health)); p.Conditions != nil || p.After != time.Second {
		t.Errorf("within the grace: %+v", p)
	}
	s := snapshot(n, RunningGrace-time.Second, first.Health)
	s.Renewed = metav1.NewMicroTime(epoch().Add(time.Second))
	if p := NewPlan(s); p.After != RunningGrace {
		t.Errorf("a renewed lease leaves %s", p.After)
	}
	p := NewPlan(snapshot(n, RunningGrace, first.Health))
	if len(p.Conditions) != 4 || ready(p.Conditions).Status != corev1.ConditionUnknown || ready(p.Conditions).Reason != "NodeStatusUnknown" {
		t.Errorf("after the grace: %+v", p.Conditions)
	}
	if !p.Transition || !p.NotReady {
		t.Errorf("the pods of a silent node stay ready: %+v", p)
	}
	if i := slices.IndexFunc(p.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeDiskPressure }); p.Conditions[i].Reason != "NodeStatusNeverUpdated" {
		t.Errorf("a condition that never was: %+v", p.Conditions[i])
	}
	if again := NewPlan(snapshot(node(p.Conditions...), RunningGrace+time.Minute, p.Health)); again.Transition || again.Conditions != nil {
		t.Errorf("a node that stays silent: %+v", again)
	}
}

func TestNeverStarted(t *testing.T) {
	first := NewPlan(snapshot(node(), 0, Health{}))
	if first.After != StartingGrace {
		t.Errorf("a new node has %s", first.After)
	}
	p := NewPlan(snapshot(node(), StartingGrace, first.Health))
	if c := ready(p.Conditions); c == nil || c.Reason != "NodeStatusNeverUpdated" || p.Transition {
		t.Errorf("plan: %+v", p)
	}
}
