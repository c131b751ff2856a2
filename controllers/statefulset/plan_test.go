package statefulset

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

func newSet(replicas int32, change ...func(*appsv1.StatefulSetSpec)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "shop", UID: "s"}, Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, PodManagementPolicy: appsv1.OrderedReadyPodManagement,
		UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{}},
	}}
	for _, f := range change {
		f(&s.Spec)
	}
	return s
}

// world is a set with its pods; the pods that a plan deletes are gone at once.
type world struct {
	set             *appsv1.StatefulSet
	pods            []*corev1.Pod
	current, update string
}

func (w *world) step() Plan {
	plan := NewPlan(Snapshot{Set: w.set, Pods: w.pods, Current: w.current, Update: w.update, Now: epoch()})
	for _, p := range plan.Delete {
		w.pods = slices.DeleteFunc(w.pods, func(o *corev1.Pod) bool { return o.Name == p.Name })
	}
	for _, c := range plan.Create {
		p := newPod(w.set, c.Ordinal, c.Revision)
		p.Status.Phase = corev1.PodPending
		w.pods = append(w.pods, p)
	}
	w.current = plan.Status.CurrentRevision
	return plan
}

func (w *world) ready(name string) {
	for _, p := range w.pods {
		if p.Name == name || name == "" {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
	}
}

func (w *world) settle() {
	for range 60 {
		w.step()
		w.ready("")
	}
}

func (w *world) names(revision string) []string {
	var all []string
	for _, p := range w.pods {
		if revision == "" || p.Labels[appsv1.ControllerRevisionHashLabelKey] == revision {
			all = append(all, p.Name)
		}
	}
	slices.Sort(all)
	return all
}

func TestOneAfterTheOther(t *testing.T) {
	w := &world{set: newSet(3), current: "a", update: "a"}
	for _, want := range [][]string{{"db-0"}, {"db-0", "db-1"}, {"db-0", "db-1", "db-2"}} {
		w.step()
		w.step() // the last pod is not ready: nothing more happens
		if got := w.names(""); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		w.ready("")
	}
	w.set.Spec.Replicas = ptr[int32](1)
	for _, want := range [][]string{{"db-0", "db-1"}, {"db-0"}, {"db-0"}} {
		w.step()
		if got := w.names(""); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestParallel(t *testing.T) {
	w := &world{set: newSet(3, func(s *appsv1.StatefulSetSpec) { s.PodManagementPolicy = appsv1.ParallelPodManagement }), current: "a", update: "a"}
	w.step()
	if got := w.names(""); len(got) != 3 {
		t.Errorf("got %v at once", got)
	}
}

func TestPartition(t *testing.T) {
	w := &world{set: newSet(4, func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.RollingUpdate.Partition = ptr[int32](2) }), current: "a", update: "a"}
	w.settle()
	w.update = "b"
	w.settle()
	if got := w.names("b"); !slices.Equal(got, []string{"db-2", "db-3"}) {
		t.Errorf("updated: %v", got)
	}
	w.pods = slices.DeleteFunc(w.pods, func(p *corev1.Pod) bool { return p.Name == "db-0" })
	w.settle()
	if got := w.names("a"); !slices.Equal(got, []string{"db-0", "db-1"}) {
		t.Errorf("below the partition: %v", got)
	}
	w.set.Spec.UpdateStrategy.RollingUpdate.Partition = nil
	w.settle()
	if got := w.names("b"); len(got) != 4 || w.current != "b" {
		t.Errorf("updated: %v, current revision %s", got, w.current)
	}
}

func TestOrdinalsAndOnDelete(t *testing.T) {
	w := &world{current: "a", update: "a", set: newSet(2, func(s *appsv1.StatefulSetSpec) {
		s.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
		s.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	})}
	w.settle()
	w.update = "b"
	w.settle()
	if got := w.names("a"); !slices.Equal(got, []string{"db-5", "db-6"}) {
		t.Errorf("pods: %v", got)
	}
}

func TestFailedPodIsReplaced(t *testing.T) {
	w := &world{set: newSet(1), current: "a", update: "a"}
	w.settle()
	w.pods[0].Status.Phase = corev1.PodFailed
	if p := w.step(); len(p.Delete) != 1 {
		t.Fatalf("plan %+v", p)
	}
	if p := w.step(); len(p.Create) != 1 {
		t.Errorf("plan %+v", p)
	}
}

// A rollout never makes more pods unavailable than it may, goes from the highest ordinal down, and ends.
func TestRolloutStaysWithinLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Int32Range(1, 4).Draw(t, "unavailable")
		replicas := rapid.Int32Range(1, 8).Draw(t, "replicas")
		w := &world{current: "a", update: "a", set: newSet(replicas, func(s *appsv1.StatefulSetSpec) {
			s.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr(intstr.FromInt32(most))
			if rapid.Bool().Draw(t, "parallel") {
				s.PodManagementPolicy = appsv1.ParallelPodManagement
			}
		})}
		w.settle()
		w.update = "b"
		for range 80 {
			w.step()
			ready := 0
			for _, p := range w.pods {
				if runningAndReady(p) {
					ready++
				}
			}
			if ready < int(replicas-most) {
				t.Fatalf("%d ready of %d, %d may be missing", ready, replicas, most)
			}
			if len(w.pods) > 0 && rapid.Bool().Draw(t, "starts") {
				w.ready(w.pods[rapid.IntRange(0, len(w.pods)-1).Draw(t, "pod")].Name)
			}
		}
		w.settle()
		if w.current != "b" || len(w.names("b")) != int(replicas) {
			t.Fatalf("current %s, updated %v", w.current, w.names("b"))
		}
	})
}

func TestOrdinal(t *testing.T) {
	for name, want := range map[string]int{"db-0": 0, "db-12": 12, "db-012": none, "db-x": none, "web-1": none, "db--1": none, "db": none} {
		if got := ordinal(newSet(1), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// In parallel, old pods that aren't available are replaced whatever the budget is, and don't use it up.
func TestParallelReplacesWhatIsAwayAnyway(t *testing.T) {
	parallel := func(s *appsv1.StatefulSetSpec) { s.PodManagementPolicy = appsv1.ParallelPodManagement }
	tests := []struct {
		most  int32
		ready []string
		want  []string
	}{
		{1, []string{"db-0", "db-1", "db-2"}, []string{"db-2"}},
		{1, []string{"db-1", "db-2"}, []string{"db-0"}},
		{2, []string{"db-1", "db-2"}, []string{"db-0", "db-2"}},
		{1, []string{"db-1"}, []string{"db-2", "db-0"}},
	}
	for _, tt := range tests {
		w := &world{set: newSet(3, parallel, func(s *appsv1.StatefulSetSpec) {
			s.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr(intstr.FromInt32(tt.most))
		}), current: "a", update: "a"}
		w.step()
		for _, name := range tt.ready {
			w.ready(name)
		}
		w.update = "b"
		if got := podNames(w.step().Delete); !slices.Equal(got, tt.want) {
			t.Errorf("%d may be away, ready are %v: deleted %v", tt.most, tt.ready, got)
		}
	}
}

// In order, a pod that isn't ready is scaled away only when none before it is unready too.
func TestScaleDownWaitsForUnreadyPodsBelow(t *testing.T) {
	for _, tt := range []struct{ unready, want []string }{
		{nil, []string{"db-3"}}, {[]string{"db-3"}, []string{"db-3"}}, {[]string{"db-2"}, []string{"db-3"}}, {[]string{"db-3", "db-2"}, nil},
	} {
		w := &world{set: newSet(4), current: "a", update: "a"}
		w.settle()
		for _, p := range w.pods {
			if slices.Contains(tt.unready, p.Name) {
				p.Status.Conditions = nil
			}
		}
		w.set.Spec.Replicas = ptr[int32](1)
		if got := podNames(w.step().Delete); !slices.Equal(got, tt.want) {
			t.Errorf("unready %v: deleted %v", tt.unready, got)
		}
	}
}

func podNames(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}
