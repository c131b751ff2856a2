// Package scheduler compares skiff's scheduler with kube-scheduler, each as a process of its own with the same API server
// of skiff. Nodes are objects only: nothing runs on them, and what is bound stays as it is.
package scheduler

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/bench/sides"
)

const (
	writers = 8
	limit   = 15 * time.Minute
	poll    = 20 * time.Millisecond
	// A process is quiet when it uses less than a fiftieth of a core for quietFor.
	quietFor  = 500 * time.Millisecond
	churnEach = 200 * time.Millisecond
)

// world is an API server with nodes, but without schedulers.
type world struct {
	api    *sides.Side
	client kubernetes.Interface
}

func newWorld(t testing.TB, nodes int) *world {
	t.Helper()
	w := &world{api: sides.Skiff(t, "--api-only")}
	config, err := w.api.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType + ",application/json"
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	high := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: highClass}, Value: 1000}
	if _, err := w.client.SchedulingV1().PriorityClasses().Create(t.Context(), high, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	all(t, nodes, func(ctx context.Context, i int) error {
		node, err := w.client.CoreV1().Nodes().Create(ctx, newNode(i), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		node.Spec.Taints = nil // of a node that is new
		_, err = w.client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
		return err
	})
	return w
}

// all does something for 0..n-1 with some writers side by side.
func all(t testing.TB, n int, do func(ctx context.Context, i int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	for first := range writers {
		group.Go(func() error {
			for i := first; i < n; i += writers {
				if err := do(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// namespace makes one in which pods may be.
func (w *world) namespace(t testing.TB, name string) {
	t.Helper()
	if _, err := w.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := w.client.CoreV1().ServiceAccounts(name).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// seed puts the pods on nodes that are there before.
func (w *world) seed(t testing.TB, ns string, load workload, nodes int) {
	t.Helper()
	if load.seed == nil {
		return
	}
	all(t, nodes, func(ctx context.Context, i int) error {
		pod := load.seed(i)
		if pod == nil {
			return nil
		}
		pod.Spec.NodeName = newNode(i).Name
		_, err := w.client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
}

// create makes the pods from, from+1, ... to-1 of n.
func (w *world) create(t testing.TB, ns string, load workload, n int) (names []string) {
	t.Helper()
	all(t, n, func(ctx context.Context, i int) error { return w.one(ctx, ns, load, i, n) })
	for i := range n {
		names = append(names, podName(i))
	}
	return names
}

// trickle makes count more pods at a steady rate.
func (w *world) trickle(t testing.TB, ns string, load workload, n, count int, every time.Duration) (names []string) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := n; i < n+count; i++ {
		<-tick.C
		if err := w.one(t.Context(), ns, load, i, n); err != nil {
			t.Fatal(err)
		}
		names = append(names, podName(i))
	}
	return names
}

func podName(i int) string { return fmt.Sprintf("pod-%d", i) }

func (w *world) one(ctx context.Context, ns string, load workload, i, n int) error {
	pod := newPod(podName(i))
	if load.shape != nil {
		load.shape(pod, i, n)
	}
	_, err := w.client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

// clear removes all pods of a namespace.
func (w *world) clear(t testing.TB, ns string) {
	t.Helper()
	now := int64(0)
	err := w.client.CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// churn makes and removes a node, a service and a pod that fits nowhere, again and again, until stop.
func (w *world) churn(t testing.TB, ns string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var joined sync.WaitGroup
	joined.Go(func() {
		tick := time.NewTicker(churnEach)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := w.comeAndGo(context.WithoutCancel(ctx), ns, i); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return func() {
		cancel()
		joined.Wait()
	}
}

func (w *world) comeAndGo(ctx context.Context, ns string, i int) error {
	core, name := w.client.CoreV1(), fmt.Sprintf("churn-%d", i)
	node := newNode(i)
	node.Name = name
	pod := newPod(name)
	pod.Spec.PriorityClassName = highClass
	request(pod, "9", "500Mi")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "churn"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	if _, err := core.Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := core.Pods(ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := core.Services(ns).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	if err := core.Services(ns).Delete(ctx, name, now); err != nil {
		return err
	}
	if err := core.Pods(ns).Delete(ctx, name, now); err != nil {
		return err
	}
	return core.Nodes().Delete(ctx, name, now)
}

// The lease for which schedulers wait.
const (
	leaseNamespace = "kube-system"
	leaseName      = "kube-scheduler"
)

// hold keeps schedulers from beginning until release.
func (w *world) hold(t testing.TB) (release func()) {
	t.Helper()
	leases := w.client.CoordinationV1().Leases(leaseNamespace)
	holder, seconds, now := "benchmark", int32(3600), metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now,
	}}
	if _, err := leases.Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := leases.Delete(t.Context(), leaseName, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// unlock takes away the lease of a scheduler that has ended.
func (w *world) unlock(t testing.TB) {
	t.Helper()
	if err := w.client.CoordinationV1().Leases(leaseNamespace).Delete(t.Context(), leaseName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// quiet waits until the process has nothing to do.
func quiet(t testing.TB, p *sides.Program) {
	t.Helper()
	last := p.CPU(t)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		time.Sleep(quietFor)
		now := p.CPU(t)
		if now-last < quietFor/50+10*time.Millisecond {
			return
		}
		last = now
	}
	t.Fatalf("the scheduler is not quiet after %s:\n%s", limit, p.Log(t))
}

// await polls until so many pods are decided on.
func (o *observer) await(t testing.TB, p *sides.Program, want int) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		n := o.count()
		if n >= want {
			return
		}
		if time.Now().After(deadline) {
			log := p.Log(t)
			t.Fatalf("%d of %d pods were decided on within %s\n%s", n, want, limit, log[max(0, len(log)-3000):])
		}
		<-tick.C
	}
}
