package validate

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestGoNames(t *testing.T) {
	one := intstr.FromInt32(1)
	for want, v := range map[string]any{
		`null`: (*corev1.PodSpec)(nil),
		`{"Type":"X","RollingUpdate":{"MaxUnavailable":1,"MaxSurge":null}}`: &appsv1.DeploymentStrategy{Type: "X", RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &one}},
		`{"Limits":null,"Requests":{"cpu":"1"},"Claims":null}`:              corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}},
		`{"matchLabels":{"a":"b"}}`:                                         &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		`["x"]`:                                                             []corev1.PersistentVolumeAccessMode{"x"},
	} {
		got, err := json.Marshal(GoNames{v})
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
}
