// Package apitest_test runs the load balancer against the real API server, in process.
package apitest_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"skiff/apis/server"
	"skiff/kubelet/loadbalancer"
	"skiff/test/env"
)

// TestFormerAddressOfServer: against the API server, as its account, the balancer tells what it wrote in an earlier run from
// what others wrote.
func TestFormerAddressOfServer(t *testing.T) {
	t.Parallel()
	const at = "127.103.0.5"
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.LoadBalancer = true }})
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	client := kubernetes.NewForConfigOrDie(s.Config(loadbalancer.Account, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"))
	services := admin.CoreV1().Services("default")
	for name, was := range map[string]struct {
		port    int32
		manager string
		address string
	}{"own": {8080, loadbalancer.Component, "203.0.113.7"}, "others": {8081, "other", "203.0.113.8"}} {
		made, err := services.Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: was.port}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: was.address}}
		if _, err := services.UpdateStatus(t.Context(), made, metav1.UpdateOptions{FieldManager: was.manager}); err != nil {
			t.Fatal(err)
		}
	}
	factory := informers.NewSharedInformerFactory(admin, 0)
	b, err := loadbalancer.New(loadbalancer.Config{Node: "node", Addresses: []netip.Addr{netip.MustParseAddr(at)}},
		loadbalancer.Deps{Client: client, Informers: factory, Events: record.NewFakeRecorder(10)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	}()
	address := func(name string) string {
		s, err := services.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(s.Status.LoadBalancer.Ingress) != 1 {
			t.Fatalf("%s: %v, %v", name, s.Status.LoadBalancer, err)
		}
		return s.Status.LoadBalancer.Ingress[0].IP
	}
	for deadline := time.Now().Add(30 * time.Second); address("own") != at; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the Service has %s, want %s", address("own"), at)
		}
	}
	if got := address("others"); got != "203.0.113.8" {
		t.Errorf("another's Service got %s", got)
	}
}
