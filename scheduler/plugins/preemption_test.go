package plugins_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// silent records nothing.
type silent struct{}

// Eventf implements events.EventRecorder.
func (silent) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// preempt lets a pod that fits nowhere preempt, and answers the node it is promised, the pods deleted and the message. The
// nodes given are turned down by something that isn't a plugin.
func (w *world) preempt(pod *corev1.Pod, down ...string) (node string, deleted map[string]bool, msg string) {
	w.t.Helper()
	c := framework.NewCycle(info(w.t, pod), w.cache.Snapshot())
	if _, _, s := w.framework.PreFilter(w.t.Context(), c); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	statuses := framework.NewNodeStatuses()
	for _, n := range c.Snapshot.Nodes() {
		s := w.framework.FilterWithNominated(w.t.Context(), c, n)
		if slices.Contains(down, n.Name()) {
			s = framework.NewStatus(framework.Unschedulable, "turned down")
		}
		if s.IsSuccess() {
			w.t.Fatalf("the pod fits node %s", n.Name())
		}
		statuses.Set(n.Name(), s)
	}
	result, s := w.framework.PostFilter(w.t.Context(), c, statuses)
	deleted = map[string]bool{}
	for _, a := range w.client.Actions() {
		if d, ok := a.(interface{ GetName() string }); ok && a.GetVerb() == "delete" {
			deleted[d.GetName()] = true
		}
	}
	if result != nil {
		node = result.NominatedNode
	}
	return node, deleted, s.Message()
}

func started(minute int64) podOpt {
	return func(p *corev1.Pod) {
		at := metav1.Unix(1700000000+60*minute, 0)
		p.Status.StartTime = &at
	}
}

func TestPreemption(t *testing.T) {
	small := allocatable("cpu", "2", "memory", "4Gi", "pods", "10")
	two := []*corev1.Node{makeNode("a", small), makeNode("b", small)}
	never := corev1.PreemptNever
	cpu := func(n string) podOpt { return requests("cpu", n) }
	high := makePod("high", priority(100), cpu("2"))
	for _, test := range []struct {
		name    string
		nodes   []*corev1.Node
		there   []*corev1.Pod
		budgets []*policyv1.PodDisruptionBudget
		pod     *corev1.Pod
		node    string
		deleted string
		msg     string
	}{
		{"least important victim", two, []*corev1.Pod{makePod("x", at("a"), cpu("2"), priority(5)), makePod("y", at("b"), cpu("2"), priority(1))}, nil, high, "b", "y", ""},
		{"fewest victims", two, []*corev1.Pod{makePod("x1", at("a"), cpu("1")), makePod("x2", at("a"), cpu("1")), makePod("y", at("b"), cpu("2"))}, nil, high, "b", "y", ""},
		{"only what is needed", two[:1], []*corev1.Pod{makePod("x", at("a"), cpu("500m"), priority(3)), makePod("y", at("a"), cpu("1500m"), priority(2))}, nil,
			makePod("mid", priority(50), cpu("1500m")), "a", "y", ""},
		{"youngest", two, []*corev1.Pod{makePod("x", at("a"), cpu("2"), started(1)), makePod("y", at("b"), cpu("2"), started(9))}, nil, high, "b", "y", ""},
		{"spares what a budget protects", two, []*corev1.Pod{makePod("x", at("a"), cpu("2"), podLabels("app", "x"), started(9)), makePod("y", at("b"), cpu("2"), priority(9))},
			[]*policyv1.PodDisruptionBudget{{
				ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"},
				Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
			}}, high, "b", "y", ""},
		{"nobody less important", two, []*corev1.Pod{makePod("x", at("a"), cpu("2"), priority(100)), makePod("y", at("b"), cpu("2"), priority(200))}, nil, high, "", "",
			"preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."},
		{"not helpful", two, nil, nil, makePod("huge", priority(100), cpu("9")), "", "", "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		{"never", two[:1], []*corev1.Pod{makePod("x", at("a"), cpu("2"))}, nil, makePod("polite", priority(100), cpu("2"), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = &never }), "", "",
			"preemption: not eligible due to preemptionPolicy=Never."},
		{"anti-affinity ends with the victim", two[:1], []*corev1.Pod{makePod("x", at("a"), podLabels("app", "a"))}, nil,
			makePod("high", priority(100), away(podTerm(corev1.LabelHostname, "app", "a"))), "a", "x", ""},
		{"spread allows it once the victim is gone", []*corev1.Node{makeNode("a", labels("zone", "a")), makeNode("b", labels("zone", "b"), taint("k", "", corev1.TaintEffectNoSchedule))},
			[]*corev1.Pod{makePod("x", at("a"), podLabels("app", "a"))}, nil, makePod("high", priority(100), podLabels("app", "a"), spread(1, "zone", corev1.DoNotSchedule)), "a", "x", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.nodes, test.there...)
			for _, b := range test.budgets {
				if err := w.factory.Policy().V1().PodDisruptionBudgets().Informer().GetStore().Add(b); err != nil {
					t.Fatal(err)
				}
			}
			node, deleted, msg := w.preempt(test.pod)
			if node != test.node || keys(deleted) != test.deleted || msg != test.msg {
				t.Errorf("node %q, deleted %q, message %q; want %q, %q, %q", node, keys(deleted), msg, test.node, test.deleted, test.msg)
			}
		})
	}
}

// TestPreemptionWantsVictims: a node that the pod would fit without an eviction is none to preempt on. Something else turned
// it down, and it would be chosen before all others.
func TestPreemptionWantsVictims(t *testing.T) {
	two := []*corev1.Node{makeNode("a"), makeNode("b")}
	there := []*corev1.Pod{makePod("x", at("a")), makePod("y", at("b"), requests("cpu", "4"))}
	high := makePod("high", priority(100), requests("cpu", "2"))
	for _, test := range []struct {
		name          string
		nodes         []*corev1.Node
		there         []*corev1.Pod
		node, deleted string
		msg           string
	}{
		{"another node has victims", two, there, "b", "y", ""},
		{"no other node", two[:1], there[:1], "", "", `preemption: expected at least one victim pod on node "a"`},
		{"no other node has", two, []*corev1.Pod{there[0], makePod("y", at("b"), requests("cpu", "4"), priority(100))}, "", "",
			`preemption: expected at least one victim pod on node "a"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			node, deleted, msg := newWorld(t, test.nodes, test.there...).preempt(high, "a")
			if node != test.node || keys(deleted) != test.deleted || msg != test.msg {
				t.Errorf("node %q, deleted %q, message %q; want %q, %q, %q", node, keys(deleted), msg, test.node, test.deleted, test.msg)
			}
		})
	}
}

// TestPreemptionSearchesForUnprotectedVictims: enough candidates that all breach a budget don't end the search.
func TestPreemptionSearchesForUnprotectedVictims(t *testing.T) {
	for range 5 { // The search starts at random.
		nodes, there := []*corev1.Node{makeNode("free")}, []*corev1.Pod{makePod("y", at("free"), requests("cpu", "4"), priority(9))}
		for i := range 9 {
			name := fmt.Sprintf("n%d", i)
			nodes = append(nodes, makeNode(name))
			there = append(there, makePod("x"+name, at(name), requests("cpu", "4"), podLabels("app", "x")))
		}
		w := newWorld(t, nodes, there...)
		w.configure(&schedv1.DefaultPreemptionArgs{MinCandidateNodesPercentage: new(int32), MinCandidateNodesAbsolute: new(int32(1))})
		budget := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
		}
		if err := w.factory.Policy().V1().PodDisruptionBudgets().Informer().GetStore().Add(budget); err != nil {
			t.Fatal(err)
		}
		if node, deleted, msg := w.preempt(makePod("high", priority(100), requests("cpu", "2"))); node != "free" || keys(deleted) != "y" {
			t.Errorf("node %q, deleted %q, message %q", node, keys(deleted), msg)
		}
	}
}

func TestVictimIsToldWhy(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a")}, makePod("x", at("a"), requests("cpu", "4")))
	var condition string
	w.preempt(makePod("high", priority(1), requests("cpu", "4")))
	for _, a := range w.client.Actions() {
		if p, ok := a.(interface{ GetPatch() []byte }); ok && a.GetSubresource() == "status" {
			condition = string(p.GetPatch())
		}
	}
	for _, want := range []string{`"type":"DisruptionTarget"`, `"reason":"PreemptionByScheduler"`, `"message":"default-scheduler: preempting to accommodate a higher priority pod"`, `"uid":"x"`} {
		if !contains(condition, want) {
			t.Errorf("the patch %s lacks %s", condition, want)
		}
	}
}

func TestNominatedPodsAreCounted(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a")})
	w.nominator.Nominate(info(t, makePod("promised", priority(10), requests("cpu", "3"))), "a")
	if got := w.verdicts(makePod("p", requests("cpu", "2")))["a"]; got != "U: Insufficient cpu" {
		t.Errorf("a lesser pod takes what was promised: %q", got)
	}
	if got := w.verdicts(makePod("p", requests("cpu", "2"), priority(20)))["a"]; got != fits {
		t.Errorf("a more important pod is kept out: %q", got)
	}
}
