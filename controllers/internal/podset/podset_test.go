package podset

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func pod(name string, change ...func(*corev1.Pod)) Ranked {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "same", CreationTimestamp: metav1.NewTime(epoch().Add(-time.Hour))}}
	p.Spec.NodeName, p.Status.Phase = "node", corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch().Add(-time.Hour))}}
	for _, f := range change {
		f(p)
	}
	return Ranked{Pod: p}
}

func readySince(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(epoch().Add(-d)) }
}

func cost(v string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: v} }
}

func restarts(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}

// Each rule decides alone, and before all that come after it.
func TestDeletionOrder(t *testing.T) {
	doubled := pod("doubled up")
	doubled.Rank = 2
	order := []Ranked{
		pod("unassigned", func(p *corev1.Pod) { p.Spec.NodeName = "" }, cost("100")),
		pod("pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, cost("100")),
		pod("unknown", func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }, cost("100")),
		pod("not ready", func(p *corev1.Pod) { p.Status.Conditions = nil }, cost("100")),
		pod("cheap", cost("-5"), readySince(100*time.Hour)),
		doubled,
		pod("ready for a minute", readySince(time.Minute)),
		pod("restarted", restarts(3)),
		pod("young", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(epoch().Add(-time.Minute)) }),
		pod("smaller uid", func(p *corev1.Pod) { p.UID, p.CreationTimestamp = "a", metav1.NewTime(epoch().Add(-61*time.Minute)) }),
		pod("ordinary"),
		pod("dear", cost("7")),
	}
	rapid.Check(t, func(t *rapid.T) {
		shuffled := rapid.Permutation(order).Draw(t, "order")
		SortForDeletion(shuffled, epoch())
		for i := range order {
			if shuffled[i].Pod.Name != order[i].Pod.Name {
				t.Fatalf("place %d: %q, want %q", i, shuffled[i].Pod.Name, order[i].Pod.Name)
			}
		}
	})
}

func TestAgesOfOnePowerAreDecidedByUID(t *testing.T) {
	older := pod("older", readySince(70*time.Minute), func(p *corev1.Pod) { p.UID = "a" })
	younger := pod("younger", readySince(60*time.Minute), func(p *corev1.Pod) { p.UID = "b" })
	ranked := []Ranked{younger, older}
	SortForDeletion(ranked, epoch())
	if ranked[0].Pod.Name != "older" {
		t.Errorf("%s goes first", ranked[0].Pod.Name)
	}
}

func TestAvailable(t *testing.T) {
	tests := []struct {
		name    string
		pod     Ranked
		seconds int32
		want    bool
		in      time.Duration
	}{
		{"ready at once", pod(""), 0, true, 0},
		{"ready long enough", pod("", readySince(time.Minute)), 60, true, 0},
		{"not long enough", pod("", readySince(time.Minute)), 90, false, 30 * time.Second},
		{"not ready", pod("", func(p *corev1.Pod) { p.Status.Conditions = nil }), 90, false, 0},
	}
	for _, tt := range tests {
		if got := Available(tt.pod.Pod, tt.seconds, epoch()); got != tt.want {
			t.Errorf("%s: available is %v", tt.name, got)
		}
		if got := AvailableIn(tt.pod.Pod, tt.seconds, epoch()); got != tt.in {
			t.Errorf("%s: available in %s, want %s", tt.name, got, tt.in)
		}
	}
}

func TestFromTemplateSharesNothing(t *testing.T) {
	template := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x"}}}}
	p := FromTemplate(template, &metav1.ObjectMeta{Name: "web", Namespace: "shop"}, metav1.OwnerReference{})
	p.Labels["a"], p.Spec.Containers[0].Name = "c", "y"
	if template.Labels["a"] != "b" || template.Spec.Containers[0].Name != "x" {
		t.Error("the pod shares the template's parts")
	}
	if p.GenerateName != "web-" || p.Namespace != "shop" {
		t.Errorf("name %q in %q", p.GenerateName, p.Namespace)
	}
}

func TestSelect(t *testing.T) {
	pods := []*corev1.Pod{pod("a").Pod, pod("b", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }).Pod}
	if got := Select(pods, Active); len(got) != 1 || !slices.Contains(got, pods[0]) {
		t.Errorf("active: %v", got)
	}
}
