package written

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// store is a cache that is told what it has seen.
type store struct {
	version string
	objects map[string]metav1.Object
}

func (s *store) LastStoreSyncResourceVersion() string { return s.version }
func (s *store) GetByKey(key string) (any, bool, error) {
	o, ok := s.objects[key]
	return o, ok, nil
}

func TestSeen(t *testing.T) {
	var log Log
	key, other := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	pods := &store{version: "5", objects: map[string]metav1.Object{}}
	if !log.Seen(key) {
		t.Error("nothing was written")
	}
	log.Wrote(key, pods, &metav1.ObjectMeta{ResourceVersion: "9"})
	log.Wrote(key, pods, &metav1.ObjectMeta{ResourceVersion: "10"})
	log.Wrote(key, pods, &metav1.ObjectMeta{ResourceVersion: "7"})
	for version, want := range map[string]bool{"": false, "9": false} {
		if pods.version = version; log.Seen(key) != want {
			t.Errorf("at %q: %v", version, !want)
		}
	}
	if !log.Seen(other) {
		t.Error("another key waits")
	}
	pods.version = "10"
	if !log.Seen(key) || len(log.pending) != 0 {
		t.Error("the write is not seen at its own version")
	}
}

func TestSeenDeletion(t *testing.T) {
	now := metav1.Now()
	gone := &metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "1"}
	for name, tt := range map[string]struct {
		cached *metav1.ObjectMeta
		want   bool
	}{
		"as before":   {gone, false},
		"terminating": {&metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "1", DeletionTimestamp: &now}, true},
		"another":     {&metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "2"}, true},
		"gone":        {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			var log Log
			pods := &store{objects: map[string]metav1.Object{}}
			if tt.cached != nil {
				pods.objects["n/p"] = tt.cached
			}
			key := types.NamespacedName{Name: "a"}
			log.Deleted(key, pods, gone)
			if got := log.Seen(key); got != tt.want {
				t.Errorf("seen is %v", got)
			}
			log.Forget(key)
			if !log.Seen(key) {
				t.Error("a forgotten key waits")
			}
		})
	}
}
