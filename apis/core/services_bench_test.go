package core_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// BenchmarkServiceCreate creates Services over the in-process transport.
func BenchmarkServiceCreate(b *testing.B) {
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort} {
		b.Run(string(kind), func(b *testing.B) {
			c := kubernetes.NewForConfigOrDie(env.Start(b, env.Options{}).Admin())
			n := 0
			for b.Loop() {
				n++
				if _, err := c.CoreV1().Services("default").Create(b.Context(), service(fmt.Sprintf("s%d", n), kind), metav1.CreateOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
