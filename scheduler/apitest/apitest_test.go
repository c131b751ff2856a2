// Package apitest_test runs the scheduler against the real API server, in process.
package apitest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/scheduler"
	"skiff/test/env"
)

func node(name string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}
}

func pod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "registry.example/i:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		}}},
	}
}

// TestAgainstTheAPI schedules under the scheduler's own identity: pods that fit are bound, the one that doesn't says why
// and is bound once there is room, and every placement has its event.
func TestAgainstTheAPI(t *testing.T) {
	server := env.Start(t, env.Options{})
	admin := kubernetes.NewForConfigOrDie(server.Admin())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	run(ctx, t, server, scheduler.Config{})

	ensureNamespace(ctx, t, admin)
	for _, name := range []string{"n1", "n2"} {
		createNode(ctx, t, admin, node(name))
	}
	const n = 20
	begin := time.Now()
	for i := range n {
		createPod(ctx, t, admin, pod(fmt.Sprintf("p%d", i), "200m"))
	}
	eventually(ctx, t, "all placed", func() bool { return placed(ctx, t, admin) == n })
	t.Logf("%d pods placed in %v", n, time.Since(begin))

	createPod(ctx, t, admin, pod("late", "200m"))
	const want = "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
	eventually(ctx, t, "the condition", func() bool {
		late, err := admin.CoreV1().Pods("default").Get(ctx, "late", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range late.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable && c.Message == want {
				return true
			}
		}
		return false
	})
	eventually(ctx, t, "the FailedScheduling event", func() bool { return hasEvent(ctx, t, admin, "late", "FailedScheduling", want) })

	zero := int64(0)
	if err := admin.CoreV1().Pods("default").Delete(ctx, "p0", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "the late pod placed", func() bool { return placed(ctx, t, admin) == n })
	late, err := admin.CoreV1().Pods("default").Get(ctx, "late", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "the Scheduled event", func() bool {
		return hasEvent(ctx, t, admin, "late", "Scheduled", "Successfully assigned default/late to "+late.Spec.NodeName)
	})
}

// run starts a scheduler with informers of its own and joins it at the end.
func run(ctx context.Context, t *testing.T, server *env.Server, cfg scheduler.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	client := kubernetes.NewForConfigOrDie(server.Config("system:kube-scheduler"))
	factory := informers.NewSharedInformerFactory(client, 0)
	s, err := scheduler.New(cfg, scheduler.Deps{Client: client, Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		factory.Shutdown()
	})
}

// ensureNamespace waits for the namespace and gives it the service account that controllers would make.
func ensureNamespace(ctx context.Context, t *testing.T, admin kubernetes.Interface) {
	t.Helper()
	eventually(ctx, t, "namespace default", func() bool {
		_, err := admin.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func createNode(ctx context.Context, t *testing.T, admin kubernetes.Interface, n *corev1.Node) {
	t.Helper()
	status := n.Status
	created, err := admin.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Status = status
	if created, err = admin.CoreV1().Nodes().UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	created.Spec.Taints = nil
	if _, err := admin.CoreV1().Nodes().Update(ctx, created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func createPod(ctx context.Context, t *testing.T, admin kubernetes.Interface, p *corev1.Pod) {
	t.Helper()
	if _, err := admin.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func placed(ctx context.Context, t *testing.T, admin kubernetes.Interface) int {
	t.Helper()
	pods, err := admin.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName != "" {
			n++
		}
	}
	return n
}

func hasEvent(ctx context.Context, t *testing.T, admin kubernetes.Interface, pod, reason, note string) bool {
	t.Helper()
	return hasEventBy(ctx, t, admin, scheduler.DefaultName, pod, reason, note)
}

func hasEventBy(ctx context.Context, t *testing.T, admin kubernetes.Interface, profile, pod, reason, note string) bool {
	t.Helper()
	events, err := admin.EventsV1().Events("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events.Items {
		e := &events.Items[i]
		if e.Regarding.Name == pod && e.Reason == reason && e.Note == note && e.ReportingController == profile {
			return true
		}
	}
	return false
}

func eventually(ctx context.Context, t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}
