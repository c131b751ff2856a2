package env_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

func TestStart(t *testing.T) {
	s := env.Start(t, env.Options{})
	client := kubernetes.NewForConfigOrDie(s.Admin())
	remote := kubernetes.NewForConfigOrDie(s.Remote("kubernetes-admin", "system:masters"))
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Data: map[string]string{"a": "b"}}
	if _, err := client.CoreV1().ConfigMaps("x").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := remote.CoreV1().ConfigMaps("x").Get(t.Context(), "x", metav1.GetOptions{})
	if err != nil || got.Data["a"] != "b" {
		t.Fatalf("got %v, %v", got, err)
	}
}
