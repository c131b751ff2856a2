package namespace

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	sets := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	trouble := Findings{
		Discovery: []error{errors.New("b"), errors.New("a")}, Deletion: []error{errors.New("x")},
		Remaining: map[schema.GroupVersionResource]int{sets: 2, pods: 1}, Finalizers: map[string]int{"keep.it": 3},
	}
	first := Conditions(nil, trouble, now)
	want := map[corev1.NamespaceConditionType][3]string{
		corev1.NamespaceDeletionDiscoveryFailure: {"True", "DiscoveryFailed", "Discovery failed for some groups, 2 failing: a, b"},
		corev1.NamespaceDeletionGVParsingFailure: {"False", "ParsedGroupVersions", "All legacy kube types successfully parsed"},
		corev1.NamespaceDeletionContentFailure:   {"True", "ContentDeletionFailed", "Failed to delete all resource types, 1 remaining: x"},
		corev1.NamespaceContentRemaining:         {"True", "SomeResourcesRemain", "Some resources are remaining: pods. has 1 resource instances, replicasets.apps has 2 resource instances"},
		corev1.NamespaceFinalizersRemaining:      {"True", "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: keep.it in 3 resource instances"},
	}
	for _, c := range first {
		if got := [3]string{string(c.Status), c.Reason, c.Message}; got != want[c.Type] {
			t.Errorf("%s: got %q, want %q", c.Type, got, want[c.Type])
		}
	}
	if len(first) != len(want) {
		t.Errorf("%d conditions, want %d", len(first), len(want))
	}
	for _, c := range Conditions(first, Findings{}, now.Add(time.Minute)) {
		moved := want[c.Type][0] == "True"
		if c.Status != corev1.ConditionFalse || c.LastTransitionTime.Time.Equal(now) == moved {
			t.Errorf("%s after the end of trouble: %+v", c.Type, c)
		}
	}
}

func TestNextLook(t *testing.T) {
	deleted := time.Unix(1000, 0)
	for after, want := range map[time.Duration]time.Duration{
		0: 100 * time.Millisecond, 4 * time.Second: time.Second, time.Hour: 15 * time.Second,
	} {
		if got := NextLook(deleted, deleted.Add(after)); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
}
