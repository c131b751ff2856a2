package daemonset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Spec: corev1.NodeSpec{Taints: taints}}
}

func newSet(surge, unavailable intstr.IntOrString) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: "shop", UID: "s"}, Spec: appsv1.DaemonSetSpec{
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &surge, MaxUnavailable: &unavailable}},
	}}
}

func TestFit(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Effect: effect}
	}
	tests := []struct {
		name      string
		node      *corev1.Node
		spec      corev1.PodSpec
		run, stay bool
	}{
		{"anywhere", node("a"), corev1.PodSpec{}, true, true},
		{"selected", node("a"), corev1.PodSpec{NodeSelector: map[string]string{"name": "a"}}, true, true},
		{"another selected", node("a"), corev1.PodSpec{NodeSelector: map[string]string{"name": "b"}}, false, false},
		{"another named", node("a"), corev1.PodSpec{NodeName: "b"}, false, false},
		{"cordoned", node("a", taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)), corev1.PodSpec{}, true, true},
		{"unreachable", node("a", taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)), corev1.PodSpec{}, true, true},
		{"closed", node("a", taint("x", corev1.TaintEffectNoSchedule)), corev1.PodSpec{}, false, true},
		{"driven off", node("a", taint("x", corev1.TaintEffectNoExecute)), corev1.PodSpec{}, false, false},
		{"no network", node("a", taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)), corev1.PodSpec{}, false, true},
		{"no network needed", node("a", taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)), corev1.PodSpec{HostNetwork: true}, true, true},
	}
	for _, tt := range tests {
		set := newSet(intstr.FromInt32(0), intstr.FromInt32(1))
		set.Spec.Template.Spec = tt.spec
		if run, stay := Fit(set, tt.node); run != tt.run || stay != tt.stay {
			t.Errorf("%s: run %v, stay %v", tt.name, run, stay)
		}
	}
}

// world is a set with nodes and pods; deleted pods are gone at once.
type world struct {
	s    Snapshot
	made int
}

func (w *world) step(t interface{ Fatal(...any) }) Plan {
	plan, err := NewPlan(w.s)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan.Delete {
		w.s.Pods = slices.DeleteFunc(w.s.Pods, func(o *corev1.Pod) bool { return o.UID == p.UID })
	}
	for _, n := range plan.Create {
		p := newPod(w.s.Set, n, w.s.Hash)
		w.made++
		p.UID, p.CreationTimestamp = types.UID(fmt.Sprint(w.made)), metav1.NewTime(epoch().Add(time.Duration(w.made)*time.Second))
		w.s.Pods = append(w.s.Pods, p)
	}
	return plan
}

func ready(p *corev1.Pod) {
	p.Status.Phase, p.Spec.NodeName = corev1.PodRunning, target(p)
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func (w *world) settle(t interface{ Fatal(...any) }) {
	for range 60 {
		w.step(t)
		for _, p := range w.s.Pods {
			ready(p)
		}
	}
}

func (w *world) availableNodes() int {
	nodes := map[string]bool{}
	for _, p := range w.s.Pods {
		if len(p.Status.Conditions) > 0 {
			nodes[target(p)] = true
		}
	}
	return len(nodes)
}

// A rollout leaves no more nodes without an available pod, and runs no more pods twice, than it may; and it ends.
func TestRolloutStaysWithinLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		surge, unavailable := rapid.Int32Range(1, 3).Draw(t, "surge"), int32(0)
		if rapid.Bool().Draw(t, "no surge") {
			surge, unavailable = 0, rapid.Int32Range(1, 3).Draw(t, "unavailable")
		}
		w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(surge), intstr.FromInt32(unavailable)), Hash: "a", Now: epoch()}}
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			w.s.Nodes = append(w.s.Nodes, node(fmt.Sprint("n", i)))
		}
		count := len(w.s.Nodes)
		w.settle(t)
		w.s.Hash = "b"
		for range 60 {
			w.step(t)
			if n := w.availableNodes(); n < count-int(unavailable) {
				t.Fatalf("%d of %d nodes are served, %d may be without", n, count, unavailable)
			}
			if n := len(w.s.Pods); n > count+int(surge) {
				t.Fatalf("%d pods on %d nodes with a surge of %d", n, count, surge)
			}
			if len(w.s.Pods) > 0 && rapid.Bool().Draw(t, "starts") {
				ready(w.s.Pods[rapid.IntRange(0, len(w.s.Pods)-1).Draw(t, "pod")])
			}
		}
		w.settle(t)
		plan := w.step(t)
		if s := plan.Status; s.UpdatedNumberScheduled != int32(count) || s.NumberAvailable != int32(count) || len(w.s.Pods) != count {
			t.Fatalf("%d pods, %+v", len(w.s.Pods), s)
		}
	})
}

func TestNodesComeAndGo(t *testing.T) {
	w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(0), intstr.FromInt32(1)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a"), node("b")}}}
	w.settle(t)
	if len(w.s.Pods) != 2 {
		t.Fatalf("%d pods", len(w.s.Pods))
	}
	w.s.Nodes = []*corev1.Node{node("b"), node("c"), node("d", corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoSchedule})}
	w.settle(t)
	var on []string
	for _, p := range w.s.Pods {
		on = append(on, target(p))
	}
	slices.Sort(on)
	if !slices.Equal(on, []string{"b", "c"}) {
		t.Errorf("pods on %v", on)
	}
}

func TestFailedAndDoubledPods(t *testing.T) {
	w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(0), intstr.FromInt32(1)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a")}}}
	w.settle(t)
	w.s.Pods[0].Status.Phase = corev1.PodFailed
	plan := w.step(t)
	if len(plan.Delete) != 1 || len(plan.Notes) != 1 || plan.Notes[0].Reason != "FailedDaemonPod" {
		t.Errorf("a failed pod: %+v", plan)
	}
	w.settle(t)
	double := w.s.Pods[0].DeepCopy()
	double.UID, double.CreationTimestamp = "double", metav1.NewTime(epoch().Add(time.Hour))
	w.s.Pods = append(w.s.Pods, double)
	if plan := w.step(t); len(plan.Delete) != 1 || plan.Delete[0].UID != "double" {
		t.Errorf("a second pod: %+v", plan.Delete)
	}
}

func TestPodsKnowTheirTemplateGeneration(t *testing.T) {
	set := newSet(intstr.FromInt32(0), intstr.FromInt32(1))
	set.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "3"}
	p := newPod(set, "a", "hash")
	if got := p.Labels["pod-template-generation"]; got != "3" || len(p.Labels) != 2 {
		t.Errorf("labels %v", p.Labels)
	}
}

// Of an update in surge, nodes whose old pod isn't available get their new one whatever the surge is.
func TestSurgeIsForAvailablePods(t *testing.T) {
	w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(1), intstr.FromInt32(0)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a"), node("b"), node("c"), node("d")}}}
	w.settle(t)
	w.s.Pods[1].Status.Conditions, w.s.Pods[2].Status.Conditions = nil, nil
	w.s.Hash = "b"
	if got := w.step(t).Create; !slices.Equal(got, []string{"b", "c", "a"}) {
		t.Errorf("new pods on %v", got)
	}
}

// An update removes old pods from nodes that no pod would be started on: with surge, when all others are served.
func TestUpdateLeavesClosedNodes(t *testing.T) {
	closed := corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoSchedule}
	for _, surge := range []int32{0, 1} {
		w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(surge), intstr.FromInt32(1-surge)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a"), node("b")}}}
		w.settle(t)
		w.s.Nodes = []*corev1.Node{node("a", closed), node("b")}
		if s := w.step(t).Status; s.NumberMisscheduled != 1 || s.DesiredNumberScheduled != 1 || len(w.s.Pods) != 2 {
			t.Errorf("surge %d: %d pods, %+v", surge, len(w.s.Pods), s)
		}
		w.s.Hash = "b"
		w.settle(t)
		if len(w.s.Pods) != 1 || target(w.s.Pods[0]) != "b" || w.s.Pods[0].Labels[appsv1.DefaultDaemonSetUniqueLabelKey] != "b" {
			t.Errorf("surge %d: %d pods", surge, len(w.s.Pods))
		}
	}
}

func TestGoingPods(t *testing.T) {
	for _, tt := range []struct {
		surge int32
		phase corev1.PodPhase
		made  int
	}{{0, corev1.PodRunning, 0}, {1, corev1.PodRunning, 1}, {0, corev1.PodFailed, 1}, {1, corev1.PodSucceeded, 1}} {
		w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(tt.surge), intstr.FromInt32(1-tt.surge)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a")}}}
		w.settle(t)
		w.s.Pods[0].DeletionTimestamp, w.s.Pods[0].Status.Phase = &metav1.Time{Time: epoch()}, tt.phase
		if got := w.step(t); len(got.Create) != tt.made || len(got.Delete) != 0 {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

// A failed pod stays while its node is held, and is told of when it goes.
func TestFailedPodsAreHeld(t *testing.T) {
	w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(0), intstr.FromInt32(1)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a")}}}
	w.settle(t)
	w.s.Pods[0].Status.Phase = corev1.PodFailed
	w.s.Held = map[string]time.Duration{"a": time.Minute}
	if got := w.step(t); len(got.Create)+len(got.Delete)+len(got.Notes)+len(got.Failed) != 0 || got.After != time.Minute {
		t.Errorf("while held: %+v", got)
	}
	w.s.Held = nil
	if got := w.step(t); len(got.Delete) != 1 || !slices.Equal(got.Failed, []string{"a"}) {
		t.Errorf("then: %+v", got)
	}
}

// Of pods of one age the one with the first name speaks for a node, but only if it is bound.
func TestOldestPod(t *testing.T) {
	w := &world{s: Snapshot{Set: newSet(intstr.FromInt32(0), intstr.FromInt32(1)), Hash: "a", Now: epoch(), Nodes: []*corev1.Node{node("a")}}}
	w.settle(t)
	first := w.s.Pods[0]
	first.Name = "agent-b"
	twin := func(name, on string) *corev1.Pod {
		p := first.DeepCopy()
		p.Name, p.UID, p.Spec.NodeName = name, types.UID(name), on
		return p
	}
	w.s.Pods = []*corev1.Pod{first, twin("agent-a", ""), twin("agent-c", "a")}
	got := w.step(t).Delete
	if len(got) != 2 || got[0].Name != "agent-c" || got[1].Name != "agent-a" {
		t.Errorf("%d went", len(got))
	}
}
