package scheduler

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"pgregory.net/rapid"

	"skiff/scheduler/framework"
	"skiff/scheduler/queue"
)

// demanding makes one of a few kinds of pods, most of which are hard to place.
func demanding(t *rapid.T, i int) *corev1.Pod {
	pod := benchPod(i)
	cpu := rapid.SampledFrom([]string{"1", "4", "40"}).Draw(t, "cpu")
	pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	switch rapid.IntRange(0, 5).Draw(t, "demand") {
	case 0:
		pod.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	case 1:
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, ContainerPort: 80, Protocol: corev1.ProtocolTCP}}
	case 2:
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}
	case 3:
		pod.Spec.Containers[0].Resources.Requests["example.com/gpu"] = resource.MustParse("1")
	}
	return pod
}

func variousNode(t *rapid.T, i int) *corev1.Node {
	node := benchNode(i)
	node.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse(rapid.SampledFrom([]string{"2", "4", "8"}).Draw(t, "has"))
	if rapid.Bool().Draw(t, "ssd") {
		node.Labels["disk"] = "ssd"
	}
	if rapid.IntRange(0, 2).Draw(t, "taint") == 0 {
		node.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
	}
	node.Spec.Unschedulable = rapid.IntRange(0, 5).Draw(t, "cordon") == 0
	return node
}

// What is remembered of nodes is what the filters would say of them now.
func TestVerdictsAreThoseOfTheFilters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		client := fake.NewClientset()
		s, err := New(Config{}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
		if err != nil {
			t.Fatal(err)
		}
		nodes := make([]*corev1.Node, rapid.IntRange(1, 8).Draw(t, "nodes"))
		for i := range nodes {
			nodes[i] = variousNode(t, i)
			s.nodeChanged(nil, nodes[i])
		}
		var placed []types.UID
		for i := range rapid.IntRange(10, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				at := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
				now := variousNode(t, at)
				s.nodeChanged(nodes[at], now)
				nodes[at] = now
			case 1:
				if len(placed) > 0 {
					s.cache.RemovePod(placed[0])
					placed = placed[1:]
				}
			case 2:
				promised := s.info(benchPod(1000 + i))
				promised.Priority = 1
				s.nominator.Nominate(promised, nodes[0].Name)
			case 3:
				s.nominator.Remove(types.UID(fmt.Sprintf("uid-%d", 1000+i-1)))
			default:
				a := &attempt{queued: &queue.Pod{Info: s.info(demanding(t, i))}}
				_, failed := s.try(t.Context(), a)
				if failed == nil {
					placed = append(placed, a.queued.Info.Pod.UID)
					continue
				}
				check(t, a, failed)
			}
		}
	})
}

// check compares what a failed attempt was told of the nodes with what their filters say.
func check(t *rapid.T, a *attempt, failed *failure) {
	for i, node := range a.cycle.Snapshot.Nodes() {
		want := a.profile.FilterWithNominated(t.Context(), a.cycle, node)
		got := failed.diagnosis.Nodes.Get(node.Name())
		if again := failed.diagnosis.Nodes.At(a.cycle.Snapshot, i); got != again {
			t.Fatalf("node %s is both %v and %v", node.Name(), got, again)
		}
		if want.Code() != got.Code() || want.Plugin() != got.Plugin() || !slices.Equal(want.Reasons(), got.Reasons()) {
			t.Fatalf("node %s: %v by %s (%v), want %v by %s (%v)", node.Name(), got.Code(), got.Plugin(), got.Reasons(), want.Code(), want.Plugin(), want.Reasons())
		}
	}
}

// Pods of one kind that wait for room cost less than the first one.
func TestVerdictsAreRemembered(t *testing.T) {
	client := fake.NewClientset()
	s, err := New(Config{}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		s.nodeChanged(nil, benchNode(i))
	}
	big := func(i int) *attempt {
		pod := benchPod(i)
		pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("64")
		return &attempt{queued: &queue.Pod{Info: s.info(pod)}}
	}
	for i := range 2 {
		a := big(i)
		if _, failed := s.try(t.Context(), a); failed == nil {
			t.Fatal("the pod fits")
		}
		known := s.remembered.find(a)
		changed := benchNode(3)
		changed.Labels["round"] = fmt.Sprint(i)
		s.nodeChanged(benchNode(3), changed)
		for position, node := range s.cache.Snapshot().Nodes() {
			if is := known.of(position, node) != nil; is == (node.Name() == changed.Name) {
				t.Errorf("round %d: it is known of node %s: %v", i, node.Name(), is)
			}
		}
	}
	if n := len(s.remembered.all); n != 1 {
		t.Errorf("%d kinds of pods are remembered, want 1", n)
	}
}

// forgetful is a filter during which the promise that it turns pods down for ends.
type forgetful struct {
	broken
	nominator *queue.Nominator
	promised  *framework.PodInfo
	full      *framework.Status
}

func (f forgetful) FilterIsLocal(*framework.PodInfo) bool { return true }

func (f forgetful) Filter(_ context.Context, _ *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	defer f.nominator.Remove(f.promised.Pod.UID)
	if len(node.Pods) > 0 {
		return f.full
	}
	return nil
}

// TestVerdictsOnEndedPromises: what was said of a node for the sake of a promise isn't remembered, even if the promise ends
// before it could be.
func TestVerdictsOnEndedPromises(t *testing.T) {
	nominator := queue.NewNominator()
	info := func(pod *corev1.Pod) *framework.PodInfo {
		info, err := framework.NewPodInfo(pod)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	promised := info(asking(1, "1", 10))
	nominator.Nominate(promised, "node-0")
	plugin := forgetful{nominator: nominator, promised: promised, full: framework.NewStatus(framework.Unschedulable, "full").WithPlugin("Broken")}
	f, err := framework.New([]framework.Enabled{{Plugin: plugin}}, nominator)
	if err != nil {
		t.Fatal(err)
	}
	s, at := &Scheduler{nominator: nominator}, &profile{Framework: f}
	snapshot := framework.NewSnapshot((&framework.NodeInfo{}).WithNode(benchNode(0)))
	search := func() int {
		diagnosis := framework.NewDiagnosis()
		pod := info(asking(2, "1", 0))
		a := &attempt{queued: &queue.Pod{Info: pod}, profile: at, cycle: framework.NewCycle(pod, snapshot)}
		found, err := s.filter(t.Context(), a, snapshot.Nodes(), &diagnosis)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if search() != 0 {
		t.Fatal("the pod got a node that was promised to another")
	}
	if search() != 1 {
		t.Error("the pod is turned down for a promise that ended")
	}
}

func BenchmarkUnfit(b *testing.B) {
	for _, nodes := range []int{100, 1000, 5000, 15000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			client := fake.NewClientset()
			s, err := New(Config{}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
			if err != nil {
				b.Fatal(err)
			}
			for i := range nodes {
				s.nodeChanged(nil, benchNode(i))
			}
			pod := benchPod(0)
			pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("64")
			info := s.info(pod)
			b.ReportAllocs()
			for b.Loop() {
				if _, failed := s.try(b.Context(), &attempt{queued: &queue.Pod{Info: info}}); failed == nil || failed.status.Message() == "" {
					b.Fatal("the pod fits")
				}
			}
		})
	}
}
