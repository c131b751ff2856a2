package slim

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// pod is a pod of an owner as the API server gives it to its number.
func pod(owner types.UID, number int) *corev1.Pod {
	yes, seconds, token := true, int64(300), fmt.Sprintf("kube-api-access-%d", number)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("web-%d", number), Namespace: "shop", UID: types.UID(fmt.Sprint(owner, number)), Labels: map[string]string{"app": "web"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: owner, Controller: &yes}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
		Spec: corev1.PodSpec{
			NodeName:    "node-1",
			Tolerations: []corev1.Toleration{{Key: "node.kubernetes.io/not-ready", TolerationSeconds: &seconds}},
			Volumes:     []corev1.Volume{{Name: token, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}},
			Containers: []corev1.Container{{
				Name: "web", Image: "web:1", VolumeMounts: []corev1.VolumeMount{{Name: token}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
			}},
		},
		Status: corev1.PodStatus{Conditions: append(make([]corev1.PodCondition, 0, 8), corev1.PodCondition{Type: corev1.PodReady, Status: "True"})},
	}
}

func transformed(t *testing.T, f cache.TransformFunc, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	want := p.DeepCopy()
	want.ManagedFields = nil
	out, err := f(p)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := out.(*corev1.Pod)
	if !ok || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, out)
	}
	return got
}

func TestSiblingsShare(t *testing.T) {
	t.Parallel()
	f := Transform()
	first, second := transformed(t, f, pod("a", 1)), transformed(t, f, pod("a", 2))
	if &first.OwnerReferences[0] != &second.OwnerReferences[0] || &first.Spec.Tolerations[0] != &second.Spec.Tolerations[0] {
		t.Error("equal lists are not shared")
	}
	if first.Spec.Volumes[0].Projected != second.Spec.Volumes[0].Projected || first.Spec.Volumes[0].Name == second.Spec.Volumes[0].Name {
		t.Error("the sources of tokens are not shared, or their names are")
	}
	if &first.Status.Conditions[0] != &second.Status.Conditions[0] {
		t.Error("equal conditions are not shared")
	}
	later := pod("a", 3)
	later.Status.Conditions[0].LastTransitionTime = metav1.Unix(1, 0)
	third := transformed(t, f, later)
	if unsafe.StringData(string(first.Status.Conditions[0].Type)) != unsafe.StringData(string(third.Status.Conditions[0].Type)) {
		t.Error("the types of conditions are not shared")
	}
	if c := third.Status.Conditions; len(c) != cap(c) {
		t.Errorf("there is room for %d conditions", cap(c))
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(second)
}

func TestPodsWithoutAnOwnerShareInTheirNamespace(t *testing.T) {
	t.Parallel()
	f := Transform()
	alone := func(namespace string, number int) *corev1.Pod {
		p := pod("", number)
		p.OwnerReferences, p.Namespace = nil, namespace
		return transformed(t, f, p)
	}
	first, other, second := alone("shop", 1), alone("bank", 2), alone("shop", 3)
	if &first.Spec.Tolerations[0] != &second.Spec.Tolerations[0] {
		t.Error("equal lists are not shared")
	}
	if &first.Spec.Tolerations[0] == &other.Spec.Tolerations[0] {
		t.Error("another namespace's list is shared")
	}
	runtime.KeepAlive(first)
}

func TestNodesShare(t *testing.T) {
	t.Parallel()
	f := Transform()
	node := func(name, cpu string) *corev1.Node {
		has := func() corev1.ResourceList { return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)} }
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			Capacity: has(), Allocatable: has(), Images: []corev1.ContainerImage{{Names: []string{"web:1"}, SizeBytes: 1}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: "True", Message: name}},
		}}
		want := n.DeepCopy()
		if out, err := f(n); err != nil || !equality.Semantic.DeepEqual(out, want) {
			t.Errorf("%+v became %+v, %v", want, out, err)
		}
		return n
	}
	first, second, other := node("a", "4"), node("b", "4"), node("c", "8")
	if reflect.ValueOf(first.Status.Capacity).Pointer() != reflect.ValueOf(second.Status.Allocatable).Pointer() {
		t.Error("equal resources are not shared")
	}
	if &first.Status.Images[0] != &second.Status.Images[0] {
		t.Error("equal images are not shared")
	}
	if other.Status.Capacity.Cpu().Value() != 8 {
		t.Errorf("another node has %v", other.Status.Capacity)
	}
	runtime.KeepAlive(first)
}

func TestDifferentPodsStayThemselves(t *testing.T) {
	t.Parallel()
	f := Transform()
	first := transformed(t, f, pod("a", 1))
	changed := pod("a", 2)
	changed.Labels["app"], changed.Spec.Tolerations, changed.Spec.Containers[0].Image = "other", nil, "web:2"
	changed.Spec.InitContainers = []corev1.Container{{Name: "first"}}
	transformed(t, f, changed)
	alone := pod("", 3)
	alone.OwnerReferences = nil
	transformed(t, f, alone)
	transformed(t, f, pod("b", 4))
	runtime.KeepAlive(first)
}

func TestGoneOwnersAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSiblings()
	kept := pod("kept", 0)
	s.swap("kept", kept)
	for i := range 4 * firstSweep {
		s.swap(types.UID(fmt.Sprint(i)), pod("x", i))
		if i%256 == 0 {
			runtime.GC()
		}
	}
	if n := len(s.last); n > 2*firstSweep {
		t.Errorf("%d owners are known", n)
	}
	if s.swap("kept", kept) != kept {
		t.Error("a pod that is there was forgotten")
	}
}

func TestOtherObjects(t *testing.T) {
	t.Parallel()
	f := Transform()
	for _, o := range []any{cache.DeletedFinalStateUnknown{Key: "a/b"}, "text", nil} {
		if got, err := f(o); err != nil || got != o {
			t.Errorf("%v became %v, %v", o, got, err)
		}
	}
}
