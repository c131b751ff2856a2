package plugins_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"skiff/scheduler/cache"
	"skiff/scheduler/framework"
)

// drawTerm draws a term about pods of an app, in the pod's own namespace, in some or in all.
func drawTerm(t *rapid.T) corev1.PodAffinityTerm {
	term := podTerm(rapid.SampledFrom([]string{"zone", "rack", corev1.LabelHostname}).Draw(t, "key"), "app", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "about"))
	switch rapid.IntRange(0, 3).Draw(t, "namespaces") {
	case 0:
		term.Namespaces = []string{"other"}
	case 1:
		term.NamespaceSelector = &metav1.LabelSelector{}
	case 2:
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "x"}}
	}
	return term
}

// drawPod draws a pod with terms and constraints.
func drawPod(t *rapid.T, name string) *corev1.Pod {
	p := makePod(name, podLabels("app", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app")))
	p.Namespace = rapid.SampledFrom([]string{"default", "other"}).Draw(t, "namespace")
	if rapid.Bool().Draw(t, "near") {
		near(drawTerm(t))(p)
	}
	if rapid.Bool().Draw(t, "away") {
		away(drawTerm(t))(p)
	}
	for range rapid.IntRange(0, 2).Draw(t, "spreads") {
		key := rapid.SampledFrom([]string{"zone", "rack"}).Draw(t, "spread over")
		spread(rapid.Int32Range(1, 2).Draw(t, "skew"), key, corev1.DoNotSchedule, func(c *corev1.TopologySpreadConstraint) {
			c.MinDomains = new(rapid.Int32Range(1, 3).Draw(t, "domains"))
			for _, policy := range []**corev1.NodeInclusionPolicy{&c.NodeAffinityPolicy, &c.NodeTaintsPolicy} {
				if rapid.Bool().Draw(t, "policy") {
					*policy = new(rapid.SampledFrom([]corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}).Draw(t, "is"))
				}
			}
		})(p)
	}
	if rapid.IntRange(0, 3).Draw(t, "selects") == 0 {
		selectNodes("zone", "a")(p)
	}
	return p
}

// drawNode draws a node that may lack a label, or have a taint.
func drawNode(t *rapid.T, name string) *corev1.Node {
	n := makeNode(name)
	for _, key := range []string{"zone", "rack"} {
		if value := rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, key); value != "" {
			n.Labels[key] = value
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "tainted") == 0 {
		taint("k", "", corev1.TaintEffectNoSchedule)(n)
	}
	return n
}

// teams is a world whose namespace other is of a team.
func teams(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, nil)
	for name, labels := range map[string]map[string]string{"default": nil, "other": {"team": "x"}} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		if err := w.factory.Core().V1().Namespaces().Informer().GetStore().Add(ns); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// over answers the world with other nodes and no pods.
func (w *world) over(nodes ...*corev1.Node) *world {
	other := *w
	other.cache = cache.New()
	for _, n := range nodes {
		other.cache.SetNode(n)
	}
	return &other
}

// TestIndexesFollowTheCluster: a snapshot that was asked before and brought up to date since says the same as a new one.
func TestIndexesFollowTheCluster(t *testing.T) {
	w := teams(t)
	rapid.Check(t, func(r *rapid.T) {
		nodes, pods := map[string]*corev1.Node{}, map[string]*corev1.Pod{}
		old := w.over()
		for range rapid.IntRange(1, 20).Draw(r, "changes") {
			name := fmt.Sprintf("n%d", rapid.IntRange(0, 3).Draw(r, "node"))
			switch what := rapid.IntRange(0, 6).Draw(r, "change"); {
			case what < 2:
				nodes[name] = drawNode(r, name)
				old.cache.SetNode(nodes[name])
			case what == 2 && len(nodes) > 1:
				delete(nodes, name)
				old.cache.RemoveNode(name)
			case what == 3 && len(pods) > 0:
				gone := rapid.SampledFrom(slices.Sorted(maps.Keys(pods))).Draw(r, "gone")
				delete(pods, gone)
				old.cache.RemovePod(types.UID(gone))
			default:
				p := drawPod(r, fmt.Sprintf("p%d", rapid.IntRange(0, 5).Draw(r, "pod")))
				p.Spec.NodeName = name
				if rapid.IntRange(0, 3).Draw(r, "leaves") == 0 {
					p.DeletionTimestamp = new(metav1.Unix(1700000000, 0))
				}
				pods[p.Name] = p
				old.cache.SetPod(info(t, p))
			}
			old.verdicts(makePod("asks", near(podTerm("rack", "app", "a")), spread(1, "zone", corev1.DoNotSchedule)))
		}
		fresh := w.over(slices.Collect(maps.Values(nodes))...)
		for _, p := range pods {
			fresh.cache.SetPod(info(t, p))
		}
		pod := drawPod(r, "new")
		if got, want := old.verdicts(pod), fresh.verdicts(pod); !maps.Equal(got, want) {
			r.Fatalf("brought up to date: %q, new: %q", got, want)
		}
	})
}

// TestWhatIfsAgreeWithTheCluster: with pods taken off a node in a what-if, filters say what they say of a cluster that
// never had them; with the pods put back, what they said before.
func TestWhatIfsAgreeWithTheCluster(t *testing.T) {
	w := teams(t)
	rapid.Check(t, func(r *rapid.T) {
		var nodes []*corev1.Node
		for i := range rapid.IntRange(1, 4).Draw(r, "nodes") {
			nodes = append(nodes, drawNode(r, fmt.Sprintf("n%d", i)))
		}
		with, without := w.over(nodes...), w.over(nodes...)
		on := nodes[0].Name
		var taken []*framework.PodInfo
		for i := range rapid.IntRange(0, 6).Draw(r, "pods") {
			p := drawPod(r, fmt.Sprintf("p%d", i))
			p.Spec.NodeName = rapid.SampledFrom(nodes).Draw(r, "on").Name
			with.cache.SetPod(info(t, p))
			if p.Spec.NodeName == on && rapid.Bool().Draw(r, "taken") {
				taken = append(taken, info(t, p))
			} else {
				without.cache.SetPod(info(t, p))
			}
		}
		pod := drawPod(r, "new")
		before, want := with.verdicts(pod), without.verdicts(pod)
		c := framework.NewCycle(info(t, pod), with.cache.Snapshot())
		if _, _, s := with.framework.PreFilter(t.Context(), c); !s.IsSuccess() {
			r.Fatal(describe(s))
		}
		what := c.Clone()
		node, _ := c.Snapshot.Node(on)
		for _, p := range taken {
			node = node.WithoutPod(p.Pod.UID)
			with.framework.RemovePod(t.Context(), what, p, node)
		}
		if got := with.judge(what, node); !maps.Equal(got, want) {
			r.Fatalf("taken off: %q, never there: %q", got, want)
		}
		for _, p := range taken {
			node = node.WithPod(p)
			with.framework.AddPod(t.Context(), what, p, node)
		}
		if got := with.judge(what, node); !maps.Equal(got, before) {
			r.Fatalf("put back: %q, before: %q", got, before)
		}
	})
}

// judge answers the verdicts on all nodes, one of them in another version.
func (w *world) judge(c *framework.Cycle, changed *framework.NodeInfo) map[string]string {
	verdicts := map[string]string{}
	for _, n := range c.Snapshot.Nodes() {
		if n.Name() == changed.Name() {
			n = changed
		}
		verdicts[n.Name()] = describe(w.framework.Filter(w.t.Context(), c, n))
	}
	return verdicts
}
