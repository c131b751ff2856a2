package same

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func spec(change func(*corev1.PodSpec)) *corev1.PodSpec {
	s := &corev1.PodSpec{
		NodeSelector: map[string]string{"a": "1", "b": "2"},
		Volumes:      []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Containers: []corev1.Container{{
			Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "E", Value: "1"}},
			Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}},
			VolumeMounts:   []corev1.VolumeMount{{Name: "v", MountPath: "/v"}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/"}}},
		}},
	}
	change(s)
	return s
}

func TestMeaning(t *testing.T) {
	t.Parallel()
	plain := spec(func(*corev1.PodSpec) {})
	for name, c := range map[string]struct {
		other *corev1.PodSpec
		want  bool
	}{
		"itself":              {plain, true},
		"a copy":              {plain.DeepCopy(), true},
		"an empty slice":      {spec(func(s *corev1.PodSpec) { s.Tolerations = []corev1.Toleration{} }), true},
		"a quantity's form":   {spec(func(s *corev1.PodSpec) { s.Containers[0].Resources.Requests["cpu"] = resource.MustParse("1000m") }), true},
		"a quantity":          {spec(func(s *corev1.PodSpec) { s.Containers[0].Resources.Requests["cpu"] = resource.MustParse("2") }), false},
		"a text as long":      {spec(func(s *corev1.PodSpec) { s.Containers[0].Image = "j" }), false},
		"a longer text":       {spec(func(s *corev1.PodSpec) { s.Containers[0].Image = "image" }), false},
		"an empty struct":     {spec(func(s *corev1.PodSpec) { s.SecurityContext = &corev1.PodSecurityContext{} }), false},
		"another volume kind": {spec(func(s *corev1.PodSpec) { s.Volumes[0].EmptyDir = nil }), false},
	} {
		if got := Meaning(plain, c.other); got != c.want || got != equality.Semantic.DeepEqual(plain, c.other) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func BenchmarkMeaning(b *testing.B) {
	x, y := spec(func(*corev1.PodSpec) {}), spec(func(*corev1.PodSpec) {})
	b.Run("Meaning", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Meaning(x, y)
		}
	})
	b.Run("DeepEqual", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			equality.Semantic.DeepEqual(x, y)
		}
	})
}

func TestButForCollector(t *testing.T) {
	t.Parallel()
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1", Name: "p", Finalizers: []string{"f"}}}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"nothing":    {func(*corev1.Pod) {}, true},
		"finalizers": {func(p *corev1.Pod) { p.Finalizers = nil }, true},
		"owners":     {func(p *corev1.Pod) { p.OwnerReferences = []metav1.OwnerReference{{Name: "o"}} }, true},
		"managers":   {func(p *corev1.Pod) { p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}} }, true},
		"labels":     {func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, false},
		"more":       {func(p *corev1.Pod) { p.Finalizers, p.Spec.NodeName = nil, "n" }, false},
	} {
		now := old.DeepCopy()
		c.change(now)
		if got := ButForCollector(now, old); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if ButForCollector(old, &corev1.Pod{}) || ButForCollector(old, nil) {
		t.Error("a new object is like none")
	}
}
