package evict

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/cri"
)

func podOf(name string, priority int32, request string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c"}}}}
	if request != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(request)}
	}
	return p
}

func use(name string, bytes uint64) cri.PodStats {
	return cri.PodStats{UID: name, Containers: []cri.ContainerStats{{Name: "c", Usage: cri.Usage{WorkingSet: bytes}, RootfsBytes: 1}}}
}

func TestRank(t *testing.T) {
	critical := podOf("critical", criticalPriority, "")
	done := podOf("done", 0, "")
	done.Status.Phase = corev1.PodSucceeded
	pods := []*corev1.Pod{
		podOf("modest", 0, "1Gi"), podOf("important", 10, ""), podOf("greedy", 0, "1Mi"), podOf("greedier", 0, "1Mi"), critical, done,
	}
	stats := []cri.PodStats{use("modest", 1<<20), use("important", 1<<30), use("greedy", 10<<20), use("greedier", 20<<20), use("critical", 1<<40), use("done", 0)}
	var got []string
	for _, v := range Rank(pods, stats, Memory) {
		got = append(got, v.Pod.Name)
	}
	if want := []string{"greedier", "greedy", "important", "modest"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestShort(t *testing.T) {
	thresholds := DefaultThresholds()
	plenty := Left{Memory: 1 << 30, Disk: 50, DiskTotal: 100, Inodes: 50, AllInode: 100}
	for _, c := range []struct {
		change func(*Left)
		want   Signal
	}{
		{func(*Left) {}, ""},
		{func(l *Left) { l.Memory = 50 << 20 }, Memory},
		{func(l *Left) { l.Disk = 9 }, Disk},
		{func(l *Left) { l.Inodes = 4 }, Inodes},
		{func(l *Left) { l.Inodes, l.AllInode = 0, 0 }, ""}, // a filesystem that doesn't count inodes
	} {
		left := plenty
		c.change(&left)
		if got, _ := Short(left, thresholds); got.Signal != c.want {
			t.Errorf("%+v: got %q, want %q", left, got.Signal, c.want)
		}
	}
}

// node is everything the manager works with.
type node struct {
	pods    []*corev1.Pod
	evicted []string
	events  []string
}

func (n *node) Pods() []*corev1.Pod { return n.pods }

func (n *node) Evict(uid types.UID, reason, _ string, _ time.Duration) {
	n.evicted = append(n.evicted, reason+" "+string(uid))
}

func (n *node) Stats(context.Context) ([]cri.PodStats, error) {
	return []cri.PodStats{use("a", 5<<20)}, nil
}

func (n *node) Event(_ *corev1.Pod, _, _, reason, message string) {
	n.events = append(n.events, reason+" "+message)
}

func TestEvictsOneAndReportsPressure(t *testing.T) {
	n := &node{pods: []*corev1.Pod{podOf("a", 0, ""), podOf("b", 0, "")}}
	m := New(Thresholds{Memory: 1 << 60, Hold: time.Minute}, Deps{Pods: n, Stats: n, Recorder: n, Root: os.TempDir()})
	if m.Pressure() != (Pressure{}) {
		t.Error("pressure before the first look")
	}
	if err := m.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(n.evicted, []string{"Evicted a"}) {
		t.Errorf("evicted %v", n.evicted)
	}
	if len(n.events) != 1 || !strings.Contains(n.events[0], "The node was low on resource: memory. Threshold quantity: 1Ei, available: ") ||
		!strings.Contains(n.events[0], "Container c was using 5Mi, request is 0, has larger consumption of memory. ") {
		t.Errorf("events %q", n.events)
	}
	if m.Pressure() != (Pressure{Memory: true}) {
		t.Errorf("pressure %+v", m.Pressure())
	}
}
