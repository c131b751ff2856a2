package server

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWithoutManagers(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
	got := withoutManagers(pod)
	if want := (&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if len(pod.ManagedFields) != 1 {
		t.Error("the object itself has lost its managed fields")
	}
	for _, obj := range []*corev1.Pod{{}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}}} {
		if withoutManagers(obj) != obj {
			t.Error("an object without managed fields was copied")
		}
	}
}
