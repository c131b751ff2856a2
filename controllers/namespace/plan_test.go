package namespace

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

func TestConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	sets := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	trouble := Findings{
		Discovery: &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{{Group: "b", Version: "v1"}: errors.New("x"), {Group: "a", Version: "v1"}: errors.New("y")}},
		Deletion:  []error{errors.New("z"), errors.New("x")},
		Remaining: map[schema.GroupVersionResource]int{sets: 2, pods: 1}, Finalizers: map[string]int{"keep.it": 3},
	}
	first := Conditions(nil, trouble, now)
	want := map[corev1.NamespaceConditionType][3]string{
		corev1.NamespaceDeletionDiscoveryFailure: {"True", "DiscoveryFailed", "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: a/v1: y, b/v1: x"},
		corev1.NamespaceDeletionGVParsingFailure: {"False", "ParsedGroupVersions", "All legacy kube types successfully parsed"},
		corev1.NamespaceDeletionContentFailure:   {"True", "ContentDeletionFailed", "Failed to delete all resource types, 2 remaining: x, z"},
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

func TestConditionsOfOtherTrouble(t *testing.T) {
	_, parsing := schema.ParseGroupVersion("a/b/c")
	got := Conditions(nil, Findings{Discovery: errors.New("no server"), GroupVersions: parsing}, time.Unix(1, 0))
	if got[0].Message != "no server" || got[1].Reason != "GroupVersionParsingFailed" || got[1].Message != "unexpected GroupVersion string: a/b/c" {
		t.Errorf("%+v", got[:2])
	}
}

func TestOverdue(t *testing.T) {
	deleted := time.Unix(1000, 0)
	held := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"keep.it"}}}
	graceful := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{DeletionGracePeriodSeconds: new(int64(30))}}
	var plain metav1.PartialObjectMetadata
	for _, tt := range []struct {
		name  string
		left  []metav1.PartialObjectMetadata
		after time.Duration
		want  bool
	}{
		{"nothing", nil, time.Hour, false},
		{"what should have gone at once", []metav1.PartialObjectMetadata{plain}, 0, true},
		{"with a finalizer", []metav1.PartialObjectMetadata{plain, held}, time.Hour, false},
		{"that may take its time", []metav1.PartialObjectMetadata{plain, graceful}, 29 * time.Second, false},
		{"that has taken its time", []metav1.PartialObjectMetadata{plain, graceful}, 30 * time.Second, true},
	} {
		if got := Overdue(tt.left, deleted, deleted.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
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
