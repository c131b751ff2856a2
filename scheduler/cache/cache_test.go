package cache_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"skiff/scheduler/cache"
	"skiff/scheduler/framework"
)

func node(name, zone string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
	}
}

func pod(name, node string) *framework.PodInfo {
	pi, err := framework.NewPodInfo(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"kind": kindOf(name)}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
			Ports:     []corev1.ContainerPort{{HostPort: 80}},
		}}},
	})
	if err != nil {
		panic(err)
	}
	return pi
}

func TestOrderAlternatesBetweenZones(t *testing.T) {
	c := cache.New()
	for _, n := range []*corev1.Node{node("a1", "a"), node("a2", "a"), node("a3", "a"), node("b1", "b"), node("b2", "b")} {
		c.SetNode(n)
	}
	var names []string
	for _, n := range c.Snapshot().Nodes() {
		names = append(names, n.Name())
	}
	if want := []string{"a1", "b1", "a2", "b2", "a3"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
}

func TestSnapshotSharesWhatDidNotChange(t *testing.T) {
	c := cache.New()
	c.SetNode(node("a", ""))
	c.SetNode(node("b", ""))
	s := c.Snapshot()
	before, _ := s.Node("a")
	other, _ := s.Node("b")
	if err := c.Assume(pod("p", ""), "a"); err != nil {
		t.Fatal(err)
	}
	s = c.Snapshot()
	after, _ := s.Node("a")
	still, _ := s.Node("b")
	if len(before.Pods) != 0 || len(after.Pods) != 1 || still != other {
		t.Errorf("before %d pods, after %d, other node shared: %v", len(before.Pods), len(after.Pods), still == other)
	}
}

func TestAssumeIsRefused(t *testing.T) {
	c := cache.New()
	c.SetNode(node("a", ""))
	if err := c.Assume(pod("p", ""), "gone"); err == nil {
		t.Error("assumed onto a node that isn't there")
	}
	if err := c.Assume(pod("p", ""), "a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Assume(pod("p", ""), "a"); err == nil {
		t.Error("assumed twice")
	}
}

func TestForgetKeepsWhatTheAPIConfirmed(t *testing.T) {
	c := cache.New()
	c.SetNode(node("a", ""))
	c.SetNode(node("b", ""))
	if err := c.Assume(pod("p", ""), "a"); err != nil {
		t.Fatal(err)
	}
	c.SetPod(pod("p", "b"))
	c.Forget("p")
	if where, assumed, ok := c.Placed("p"); !ok || assumed || where != "b" {
		t.Errorf("placed on %q, assumed %v, known %v", where, assumed, ok)
	}
}

func TestImagesAreCountedByNode(t *testing.T) {
	c := cache.New()
	for i, name := range []string{"a", "b"} {
		n := node(name, "")
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"img:1"}, SizeBytes: 5}}
		c.SetNode(n)
		if got := c.Snapshot().ImageNodes("img:1"); got != i+1 {
			t.Errorf("%d nodes have the image, want %d", got, i+1)
		}
	}
	c.RemoveNode("a")
	if got := c.Snapshot().ImageNodes("img:1"); got != 1 {
		t.Errorf("%d nodes have the image, want 1", got)
	}
}

// kindOf makes two kinds of the pods.
func kindOf(name string) string { return string('0' + name[len(name)-1]%2) }

// model is what the cache must know, kept plainly.
type model struct {
	nodes map[string]bool
	pods  map[string]placed
}

type placed struct {
	node    string
	assumed bool
}

// TestSumsAlwaysMatchThePods: in any order of events, the snapshot holds exactly the nodes there are and the pods placed
// on them, and the sums are those of the pods. No assumed pod is lost before it is forgotten or removed.
func TestSumsAlwaysMatchThePods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, m := cache.New(), model{nodes: map[string]bool{}, pods: map[string]placed{}}
		nodes := rapid.SampledFrom([]string{"n1", "n2", "n3"})
		pods := rapid.Map(rapid.IntRange(0, 7), func(i int) string { return fmt.Sprintf("p%d", i) })
		t.Repeat(map[string]func(*rapid.T){
			"setNode": func(t *rapid.T) {
				n := nodes.Draw(t, "node")
				c.SetNode(node(n, rapid.SampledFrom([]string{"", "z"}).Draw(t, "zone")))
				m.nodes[n] = true
			},
			"removeNode": func(t *rapid.T) {
				n := nodes.Draw(t, "node")
				c.RemoveNode(n)
				delete(m.nodes, n)
			},
			"assume": func(t *rapid.T) {
				n, p := nodes.Draw(t, "node"), pods.Draw(t, "pod")
				_, known := m.pods[p]
				err := c.Assume(pod(p, ""), n)
				if (err == nil) != (!known && m.nodes[n]) {
					t.Fatalf("assume: %v", err)
				}
				if err == nil {
					m.pods[p] = placed{n, true}
				}
			},
			"confirm": func(t *rapid.T) {
				n, p := nodes.Draw(t, "node"), pods.Draw(t, "pod")
				c.SetPod(pod(p, n))
				m.pods[p] = placed{n, false}
			},
			"forget": func(t *rapid.T) {
				p := pods.Draw(t, "pod")
				c.Forget(types.UID(p))
				if m.pods[p].assumed {
					delete(m.pods, p)
				}
			},
			"remove": func(t *rapid.T) {
				p := pods.Draw(t, "pod")
				c.RemovePod(types.UID(p))
				delete(m.pods, p)
			},
			"": func(t *rapid.T) { m.compare(t, c) },
		})
	})
}

func (m model) compare(t *rapid.T, c *cache.Cache) {
	s := c.Snapshot()
	if len(s.Nodes()) != len(m.nodes) {
		t.Fatalf("%d nodes, want %d", len(s.Nodes()), len(m.nodes))
	}
	assumed := 0
	want := map[string]int{}
	for name, p := range m.pods {
		if p.assumed {
			assumed++
		}
		want[p.node]++
		if where, isAssumed, ok := c.Placed(types.UID(name)); !ok || where != p.node || isAssumed != p.assumed {
			t.Fatalf("pod %s is on %q, assumed %v, known %v", name, where, isAssumed, ok)
		}
	}
	for name := range m.nodes {
		n, ok := s.Node(name)
		if !ok || len(n.Pods) != want[name] || len(n.Ports) != want[name] || n.Requested.MilliCPU != int64(100*want[name]) {
			t.Fatalf("node %s: known %v, %+v, want %d pods", name, ok, n, want[name])
		}
	}
	onNodes := 0
	for name := range m.nodes {
		onNodes += want[name]
	}
	m.compareKinds(t, s, onNodes)
	if size := c.Size(); size != (cache.Size{Nodes: len(m.nodes), Pods: len(m.pods), AssumedPods: assumed}) {
		t.Fatalf("size %+v", size)
	}
}

// compareKinds: the index by kind counts the same pods on the same nodes, and every node is in the domain it says.
func (m model) compareKinds(t *rapid.T, s *framework.Snapshot, pods int) {
	counted := 0
	for kind := range s.Kinds() {
		for _, on := range kind.On {
			same := 0
			for _, p := range s.Nodes()[on.Node].Pods {
				if p.Pod.Labels["kind"] == kind.Pod.Pod.Labels["kind"] {
					same++
				}
			}
			if int(on.Pods) != same {
				t.Fatalf("%d pods of a kind are counted on node %d, want %d", on.Pods, on.Node, same)
			}
			counted += same
		}
	}
	if counted != pods {
		t.Fatalf("%d pods are counted, want %d", counted, pods)
	}
	zones := s.Topology(corev1.LabelTopologyZone)
	for i, n := range s.Nodes() {
		if at := zones.Of[i]; at < 0 || zones.Values[at] != n.Node.Labels[corev1.LabelTopologyZone] {
			t.Fatalf("node %s is in domain %d of %v", n.Name(), at, zones.Values)
		}
	}
}
