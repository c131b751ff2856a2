package server

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// asTyped is obj without a schema, compared part by part or field by field.
func asTyped(t *testing.T, obj any, byPart bool) *typed.TypedValue {
	t.Helper()
	v, err := value.NewValueReflect(obj)
	if err != nil {
		t.Fatal(err)
	}
	if byPart {
		o := reflect.ValueOf(obj).Elem()
		v = whole{v, o, partsOf(o.Type())}
	}
	return typed.AsTypedUnvalidated(v, typed.DeducedParseableType.Schema, typed.DeducedParseableType.TypeRef)
}

func TestCompareByPart(t *testing.T) {
	t.Parallel()
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"l": "1"}},
			Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c"}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		}
		change(p)
		return p
	}
	objects := map[string]*corev1.Pod{
		"empty":            {},
		"itself":           pod(func(*corev1.Pod) {}),
		"other label":      pod(func(p *corev1.Pod) { p.Labels["l"] = "2" }),
		"more labels":      pod(func(p *corev1.Pod) { p.Labels["m"] = "1" }),
		"no labels":        pod(func(p *corev1.Pod) { p.Labels = nil }),
		"other node":       pod(func(p *corev1.Pod) { p.Spec.NodeName = "m" }),
		"no node":          pod(func(p *corev1.Pod) { p.Spec.NodeName = "" }),
		"other containers": pod(func(p *corev1.Pod) { p.Spec.Containers[0].Name = "d" }),
		"empty gates":      pod(func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{} }),
		"no containers":    pod(func(p *corev1.Pod) { p.Spec.Containers = nil }),
		"empty containers": pod(func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{} }),
		"empty ports":      pod(func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{} }),
		"empty selector":   pod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{} }),
		"other phase":      pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		"no status":        pod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }),
		"other everything": pod(func(p *corev1.Pod) {
			p.Labels["l"], p.Spec.NodeName, p.Status.Reason = "3", "o", "r"
		}),
	}
	for oldName, old := range objects {
		for name, now := range objects {
			want, err := asTyped(t, old, false).Compare(asTyped(t, now, false))
			if err != nil {
				t.Fatal(err)
			}
			got, err := asTyped(t, old, true).Compare(asTyped(t, now, true))
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String() {
				t.Errorf("from %s to %s:\n got %s\nwant %s", oldName, name, got, want)
			}
		}
	}
}

// A merge needs every field of both, and equality looks at all of them.
func TestMergeWithWhole(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.PodSpec{NodeName: "n"}}
	sent := typed.AsTypedUnvalidated(value.NewValueInterface(map[string]any{
		"metadata": map[string]any{"name": "a", "labels": map[string]any{"l": "1"}},
	}), typed.DeducedParseableType.Schema, typed.DeducedParseableType.TypeRef)
	var merged [2]any
	for i, byPart := range []bool{false, true} {
		m, err := asTyped(t, pod, byPart).Merge(sent)
		if err != nil {
			t.Fatal(err)
		}
		merged[i] = m.AsValue().Unstructured()
	}
	if !reflect.DeepEqual(merged[0], merged[1]) {
		t.Errorf("got %v, want %v", merged[1], merged[0])
	}
	other := pod.DeepCopy()
	a, b := asTyped(t, pod, true).AsValue(), asTyped(t, other, true).AsValue()
	if !value.Equals(a, b) {
		t.Error("an object does not equal its copy")
	}
	other.Spec.NodeName = "m"
	if value.Equals(a, b) || a.AsMap().Equals(b.AsMap()) {
		t.Error("an object equals another one")
	}
}
