package revision

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The hashes name the sets of every deployment: if these change, an upgrade rolls all of them out anew.
func TestTemplateHashIsStable(t *testing.T) {
	template := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "nginx"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:1.14.2", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}},
	}
	one := int32(1)
	for _, tt := range []struct {
		collisions *int32
		want       string
	}{{nil, "7df89985c6"}, {new(int32), "7fb885d8f6"}, {&one, "567b557b6f"}} {
		if got := TemplateHash(template, tt.collisions); got != tt.want {
			t.Errorf("hash is %s, want %s", got, tt.want)
		}
	}
}
