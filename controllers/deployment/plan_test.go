package deployment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
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

func ptr[T any](v T) *T { return &v }

func newDeployment(replicas int32, surge, unavailable intstr.IntOrString) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "d", Generation: 1, CreationTimestamp: metav1.NewTime(epoch())},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, RevisionHistoryLimit: ptr[int32](2),
			ProgressDeadlineSeconds: ptr[int32](600),
			Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "v1"}}}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: &surge, MaxUnavailable: &unavailable,
			}},
		},
	}
}

// world is a deployment with its sets, in which the pods of a set become available one by one.
type world struct {
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	now  time.Time
	pods map[string][]*corev1.Pod
}

// step plans once and applies the plan as the server would.
func (w *world) step() Plan {
	w.now = w.now.Add(time.Second)
	plan := NewPlan(Snapshot{Deployment: w.d, Sets: w.sets, Pods: w.pods, Now: w.now})
	if plan.Create != nil {
		set := plan.Create.DeepCopy()
		set.UID, set.CreationTimestamp, set.Generation = types.UID(set.Name), metav1.NewTime(w.now), 1
		w.sets = append(w.sets, set)
	}
	for _, u := range plan.Update {
		i := slices.IndexFunc(w.sets, func(s *appsv1.ReplicaSet) bool { return s.Name == u.Set.Name })
		w.sets[i] = u.Set.DeepCopy()
	}
	for _, gone := range plan.Delete {
		w.sets = slices.DeleteFunc(w.sets, func(s *appsv1.ReplicaSet) bool { return s.Name == gone.Name })
	}
	w.d = plan.Deployment.DeepCopy()
	for i := range w.sets { // pods that go are first those that are not available
		s := w.sets[i].DeepCopy()
		s.Status.AvailableReplicas = min(s.Status.AvailableReplicas, *s.Spec.Replicas)
		s.Status.Replicas, s.Status.ReadyReplicas = *s.Spec.Replicas, s.Status.AvailableReplicas
		s.Status.ObservedGeneration = s.Generation
		w.sets[i] = s
	}
	return plan
}

func (w *world) total() int32     { return sum(w.sets, specReplicas) }
func (w *world) available() int32 { return sum(w.sets, availableReplicas) }

// settle makes all pods available until nothing happens any more.
func (w *world) settle(t interface{ Fatalf(string, ...any) }) {
	for range 500 {
		plan := w.step()
		changed := plan.Create != nil || len(plan.Update)+len(plan.Delete) > 0
		for _, s := range w.sets {
			if s.Status.AvailableReplicas < *s.Spec.Replicas {
				s.Status.AvailableReplicas, changed = *s.Spec.Replicas, true
				s.Status.ReadyReplicas = s.Status.AvailableReplicas
			}
		}
		if !changed && complete(w.d, w.d.Status) {
			return
		}
	}
	t.Fatalf("the rollout does not end: %+v", w.d.Status)
}

func (w *world) image(image string) {
	w.d = w.d.DeepCopy()
	w.d.Generation++
	w.d.Spec.Template.Spec.Containers[0].Image = image
}

func amount(t *rapid.T, name string) intstr.IntOrString {
	if rapid.Bool().Draw(t, name+" in percent") {
		return intstr.FromString(fmt.Sprintf("%d%%", rapid.IntRange(0, 100).Draw(t, name)))
	}
	return intstr.FromInt32(rapid.Int32Range(0, 5).Draw(t, name))
}

// A rollout never has more pods than surge allows, never takes an available pod that is needed, and ends.
func TestRolloutStaysWithinLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{d: newDeployment(rapid.Int32Range(0, 12).Draw(t, "replicas"), amount(t, "surge"), amount(t, "unavailable")), now: epoch()}
		w.settle(t)
		surge, unavailable := fences(w.d)
		replicas := *w.d.Spec.Replicas
		for i := range rapid.IntRange(1, 3).Draw(t, "rollouts") {
			w.image("v" + strconv.Itoa(i+2))
			for range rapid.IntRange(0, 30).Draw(t, "steps") {
				before := w.available()
				w.step()
				if w.total() > replicas+surge {
					t.Fatalf("%d pods with %d replicas and a surge of %d", w.total(), replicas, surge)
				}
				if floor := min(before, replicas-unavailable); w.available() < floor {
					t.Fatalf("%d available of %d, %d may be missing, %d were available", w.available(), replicas, unavailable, before)
				}
				if len(w.sets) > 0 {
					s := w.sets[rapid.IntRange(0, len(w.sets)-1).Draw(t, "set")]
					s.Status.AvailableReplicas = rapid.Int32Range(s.Status.AvailableReplicas, *s.Spec.Replicas).Draw(t, "available")
					s.Status.ReadyReplicas = s.Status.AvailableReplicas
				}
			}
		}
		w.settle(t)
		if current := findCurrent(w.d, w.sets); specReplicas(current) != replicas || w.total() != replicas {
			t.Fatalf("%d pods, %d of the present template, want %d", w.total(), specReplicas(current), replicas)
		}
	})
}

func TestScalingInTheMiddleOfARollout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{d: newDeployment(rapid.Int32Range(1, 20).Draw(t, "replicas"), intstr.FromInt32(3), intstr.FromInt32(2)), now: epoch()}
		w.settle(t)
		w.image("v2")
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			w.step()
		}
		w.d = w.d.DeepCopy()
		w.d.Generation++
		w.d.Spec.Replicas = ptr(rapid.Int32Range(0, 30).Draw(t, "new size"))
		for range 60 {
			w.step()
			for _, s := range w.sets {
				s.Status.AvailableReplicas = *s.Spec.Replicas
			}
		}
		w.settle(t)
	})
}

func TestProportionalScaling(t *testing.T) {
	tests := []struct {
		name         string
		from, to     int32
		sizes, wants []int32 // the current set is the last
	}{
		{"grows by shares", 10, 20, []int32{3, 7}, []int32{6, 14}},
		{"shrinks by shares", 10, 5, []int32{4, 6}, []int32{2, 3}},
		{"the largest choose first", 10, 15, []int32{2, 3, 5}, []int32{2, 5, 8}},
		{"the remainder goes to the newest of the largest", 3, 4, []int32{1, 1, 1}, []int32{1, 1, 2}},
		{"to nothing", 10, 0, []int32{5, 5}, []int32{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDeployment(tt.from, intstr.FromInt32(0), intstr.FromInt32(1))
			var sets []*appsv1.ReplicaSet
			for i, n := range tt.sizes {
				set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(i), CreationTimestamp: metav1.NewTime(epoch().Add(time.Duration(i) * time.Hour))}}
				set.Spec.Replicas, set.Spec.Template = &n, *d.Spec.Template.DeepCopy()
				if i < len(tt.sizes)-1 {
					set.Spec.Template.Spec.Containers[0].Image = strconv.Itoa(i)
				}
				annotateSize(set, d)
				sets = append(sets, set)
			}
			d.Spec.Replicas = &tt.to
			got := slices.Clone(tt.sizes)
			for _, u := range NewPlan(Snapshot{Deployment: d, Sets: sets, Now: epoch()}).Update {
				i, _ := strconv.Atoi(u.Set.Name)
				got[i] = *u.Set.Spec.Replicas
			}
			if !slices.Equal(got, tt.wants) {
				t.Errorf("got %v, want %v", got, tt.wants)
			}
		})
	}
}

func TestFences(t *testing.T) {
	tests := []struct {
		replicas           int32
		surge, unavailable intstr.IntOrString
		wantS, wantU       int32
	}{
		{10, intstr.FromString("25%"), intstr.FromString("25%"), 3, 2},
		{1, intstr.FromString("25%"), intstr.FromString("25%"), 1, 0},
		{3, intstr.FromInt32(0), intstr.FromInt32(0), 0, 1},
		{3, intstr.FromInt32(0), intstr.FromString("10%"), 0, 1},
		{0, intstr.FromString("50%"), intstr.FromString("50%"), 0, 1},
	}
	for _, tt := range tests {
		if s, u := fences(newDeployment(tt.replicas, tt.surge, tt.unavailable)); s != tt.wantS || u != tt.wantU {
			t.Errorf("%d replicas, %s, %s: got %d and %d, want %d and %d", tt.replicas, tt.surge.String(), tt.unavailable.String(), s, u, tt.wantS, tt.wantU)
		}
	}
}

func TestRecreateNeverMixes(t *testing.T) {
	w := &world{d: newDeployment(3, intstr.FromInt32(1), intstr.FromInt32(0)), now: epoch(), pods: map[string][]*corev1.Pod{}}
	w.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	w.settle(t)
	first := w.sets[0]
	w.pods[string(first.UID)] = []*corev1.Pod{{}}
	w.image("v2")
	for range 5 {
		w.step()
	}
	if len(w.sets) != 1 || *w.sets[0].Spec.Replicas != 0 {
		t.Fatalf("a new set came while an old pod was running: %+v", w.sets)
	}
	delete(w.pods, string(first.UID))
	w.settle(t)
	if len(w.sets) != 2 || *w.sets[1].Spec.Replicas != 3 {
		t.Errorf("sets: %+v", w.sets)
	}
}

func TestRollbackTakesTheNextRevision(t *testing.T) {
	w := &world{d: newDeployment(2, intstr.FromInt32(1), intstr.FromInt32(0)), now: epoch()}
	w.settle(t)
	w.image("v2")
	w.settle(t)
	w.image("v1")
	w.settle(t)
	current := findCurrent(w.d, w.sets)
	if got := current.Annotations[revisionAnnotation]; got != "3" || w.d.Annotations[revisionAnnotation] != "3" {
		t.Errorf("revision is %s, the deployment's %s; want 3", got, w.d.Annotations[revisionAnnotation])
	}
	if got := current.Annotations[historyAnnotation]; got != "1" {
		t.Errorf("history is %q, want 1", got)
	}
	if len(w.sets) != 2 {
		t.Errorf("%d sets, want the first one again", len(w.sets))
	}
}

func TestHistoryLimit(t *testing.T) {
	w := &world{d: newDeployment(1, intstr.FromInt32(1), intstr.FromInt32(0)), now: epoch()}
	for i := range 6 {
		w.image("v" + strconv.Itoa(i))
		w.settle(t)
	}
	var revisions []int64
	for _, s := range w.sets {
		revisions = append(revisions, revisionOf(s))
	}
	if !slices.Equal(revisions, []int64{4, 5, 6}) {
		t.Errorf("revisions %v are kept, want the present and two before", revisions)
	}
}

func TestExtendHistory(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat("1000,", 400), ",") // 1999 bytes
	tests := []struct{ history, add, want string }{
		{"", "1", "1"},
		{"1", "2", "1,2"},
		{long, "7", strings.TrimPrefix(long, "1000,") + ",7"},
	}
	for _, tt := range tests {
		if got := extendHistory(tt.history, tt.add); got != tt.want || len(got) > historyLength {
			t.Errorf("got %q (%d bytes)", got, len(got))
		}
	}
}

func TestProgress(t *testing.T) {
	w := &world{d: newDeployment(1, intstr.FromInt32(1), intstr.FromInt32(0)), now: epoch()}
	reason := func() string {
		c := condition(w.d.Status, appsv1.DeploymentProgressing)
		return string(c.Status) + " " + c.Reason
	}
	w.step()
	if got := reason(); got != "True NewReplicaSetCreated" {
		t.Errorf("after creation: %s", got)
	}
	plan := w.step()
	if got := plan.After; got < 590*time.Second || got > 601*time.Second {
		t.Errorf("looks again in %s, want the deadline", got)
	}
	w.now = w.now.Add(11 * time.Minute)
	w.step()
	if got := reason(); got != "False ProgressDeadlineExceeded" {
		t.Errorf("after the deadline: %s", got)
	}
	w.settle(t)
	if got := reason(); got != "True NewReplicaSetAvailable" {
		t.Errorf("in the end: %s", got)
	}
	w.d.Spec.Paused = true
	w.step()
	if got := reason(); got != "Unknown DeploymentPaused" {
		t.Errorf("paused: %s", got)
	}
	w.image("v2")
	w.step()
	if len(w.sets) != 1 {
		t.Error("a paused deployment rolls out")
	}
	w.d.Spec.Paused = false
	w.settle(t)
	if got := reason(); got != "True NewReplicaSetAvailable" || len(w.sets) != 2 {
		t.Errorf("resumed: %s, %d sets", got, len(w.sets))
	}
}

func TestEmptySelectorIsRefused(t *testing.T) {
	d := newDeployment(1, intstr.FromInt32(1), intstr.FromInt32(0))
	d.Spec.Selector = &metav1.LabelSelector{}
	plan := NewPlan(Snapshot{Deployment: d, Now: epoch()})
	if plan.Warning == nil || plan.Warning.Reason != "SelectingAll" || plan.Create != nil {
		t.Errorf("plan: %+v", plan)
	}
}

func TestOnTheWay(t *testing.T) {
	d := newDeployment(4, intstr.FromInt32(1), intstr.FromInt32(1))
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 4, UpdatedReplicas: 2, AvailableReplicas: 3}
	setCondition(&d.Status, newCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "", epoch()))
	setCondition(&d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, "", epoch()))
	for name, c := range map[string]struct {
		change func(*appsv1.Deployment)
		want   bool
	}{
		"one more is updated": {func(d *appsv1.Deployment) {
			d.Status.UpdatedReplicas = 3
			condition(d.Status, appsv1.DeploymentProgressing).LastUpdateTime = metav1.NewTime(epoch().Add(time.Minute))
			slices.Reverse(d.Status.Conditions)
		}, true},
		"the last is there, an old one leaves": {func(d *appsv1.Deployment) {
			d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.TerminatingReplicas = 4, 4, ptr[int32](1)
		}, true},
		"all is done": {func(d *appsv1.Deployment) {
			d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.TerminatingReplicas = 4, 4, ptr[int32](0)
		}, false},
		"too few are available": {func(d *appsv1.Deployment) {
			condition(d.Status, appsv1.DeploymentAvailable).Status = corev1.ConditionFalse
		}, false},
		"it is stuck":           {func(d *appsv1.Deployment) { condition(d.Status, appsv1.DeploymentProgressing).Reason = reasonTimedOut }, false},
		"a generation was seen": {func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 2 }, false},
		"a revision was given": {func(d *appsv1.Deployment) {
			d.Annotations = map[string]string{"deployment.kubernetes.io/revision": "2"}
		}, false},
	} {
		after := d.DeepCopy()
		c.change(after)
		if got := onTheWay(d, after); got != c.want {
			t.Errorf("%s: on the way is %v", name, got)
		}
	}
}

// A set that was just scaled down still tells of the pods that go. They keep nobody served.
func TestShrinkCountsNoPodsThatGo(t *testing.T) {
	w := &world{d: newDeployment(15, intstr.FromInt32(3), intstr.FromInt32(2)), now: epoch()}
	w.settle(t)
	w.image("v2")
	for range 20 {
		w.step()
	}
	w.d.Spec.Replicas = ptr[int32](5)
	w.d.Generation++
	w.step()
	for i, s := range w.sets {
		s = s.DeepCopy()
		if s.Status.AvailableReplicas > 0 {
			s.Status.AvailableReplicas = 13
		}
		w.sets[i] = s
	}
	for range 20 {
		w.step()
	}
	if n := w.available(); n < 3 {
		t.Errorf("%d available of 5, 2 may be away", n)
	}
}
