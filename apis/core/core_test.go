package core_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

func client(t *testing.T, dir string) (kubernetes.Interface, *env.Server) {
	t.Helper()
	s := env.Start(t, env.Options{Dir: dir})
	c := kubernetes.NewForConfigOrDie(s.Admin())
	for _, ns := range []string{"default"} {
		_, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := c.CoreV1().ServiceAccounts(ns).Create(t.Context(), sa, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	return c, s
}

func service(name string, t corev1.ServiceType) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Type: t, Ports: []corev1.ServicePort{{Port: 80}}}}
}

// held lists the addresses and node ports of all services, and fails on one
// that two have.
func held(ctx context.Context, t *testing.T, c kubernetes.Interface) map[string]string {
	t.Helper()
	list, err := c.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range list.Items {
		for _, k := range []string{s.Spec.ClusterIP, fmt.Sprint(s.Spec.Ports[0].NodePort)} {
			if other, ok := out[k]; ok && k != "0" {
				t.Errorf("%s: held by %s and %s", k, other, s.Name)
			}
			out[k] = s.Name
		}
	}
	return out
}

func TestServiceAllocation(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	c, s := client(t, dir)
	svcs := c.CoreV1().Services("default")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, err := svcs.Create(ctx, service(fmt.Sprintf("s%d", i), corev1.ServiceTypeNodePort), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	before := held(ctx, t, c)
	s.Stop()

	// a restarted server knows from the store alone what is taken
	c, _ = client(t, dir)
	svcs = c.CoreV1().Services("default")
	first, err := svcs.Get(ctx, "s0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dup := service("dup", corev1.ServiceTypeClusterIP)
	dup.Spec.ClusterIP = first.Spec.ClusterIP
	if _, err := svcs.Create(ctx, dup, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("taken address: got %v, want Invalid", err)
	}
	if err := svcs.Delete(ctx, "s0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := svcs.Create(ctx, dup, metav1.CreateOptions{}); err != nil {
		t.Errorf("freed address: %v", err)
	}
	if after := held(ctx, t, c); len(after) < len(before)-1 {
		t.Errorf("addresses were lost: %d, then %d", len(before), len(after))
	}
}

func TestServiceChangesType(t *testing.T) {
	ctx := t.Context()
	c, _ := client(t, "")
	svcs := c.CoreV1().Services("default")
	s, err := svcs.Create(ctx, service("s", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ip, port := s.Spec.ClusterIP, s.Spec.Ports[0].NodePort
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s, err = svcs.Update(ctx, s, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Spec.ClusterIP != ip || s.Spec.Ports[0].NodePort != 0 {
		t.Errorf("got %s and node port %d, want %s and none", s.Spec.ClusterIP, s.Spec.Ports[0].NodePort, ip)
	}
	other := service("other", corev1.ServiceTypeNodePort)
	other.Spec.Ports[0].NodePort = port
	if _, err := svcs.Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Errorf("freed node port %d: %v", port, err)
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app:1"}}},
	}
}

func TestPodLife(t *testing.T) {
	ctx := t.Context()
	c, _ := client(t, "")
	pods := c.CoreV1().Pods("default")
	p, err := pods.Create(ctx, pod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Status.Phase != corev1.PodPending || p.Status.QOSClass != corev1.PodQOSBestEffort || p.Generation != 1 {
		t.Errorf("got %s, %s, generation %d", p.Status.Phase, p.Status.QOSClass, p.Generation)
	}
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := pods.Bind(ctx, bind, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(ctx, bind, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("second binding: got %v, want Conflict", err)
	}
	mine, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n"})
	if err != nil || len(mine.Items) != 1 {
		t.Fatalf("by node: %v, %v", mine, err)
	}
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err = pods.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("graceful delete: %v, %v", p, err)
	}
	if err := pods.Delete(ctx, "p", *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the kubelet's delete: %v", err)
	}
}

func TestEvictionAsksTheBudget(t *testing.T) {
	ctx := t.Context()
	c, _ := client(t, "")
	pods, budgets := c.CoreV1().Pods("default"), c.PolicyV1().PodDisruptionBudgets("default")
	p, err := pods.Create(ctx, pod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if _, err = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	evict := func() error {
		return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}})
	}
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		t.Errorf("unobserved budget: got %v, want TooManyRequests", err)
	}
	b.Status.ObservedGeneration, b.Status.DisruptionsAllowed = b.Generation, 1
	if _, err = budgets.UpdateStatus(ctx, b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict(); err != nil {
		t.Errorf("with a disruption left: %v", err)
	}
	b, err = budgets.Get(ctx, "b", metav1.GetOptions{})
	if err != nil || b.Status.DisruptionsAllowed != 0 || len(b.Status.DisruptedPods) != 1 {
		t.Errorf("budget after the eviction: %+v, %v", b.Status, err)
	}
}

func TestNamespaceEndsInTwoSteps(t *testing.T) {
	ctx := t.Context()
	c, _ := client(t, "")
	nss := c.CoreV1().Namespaces()
	ns, err := nss.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gone"}}, metav1.CreateOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceActive || ns.Labels[corev1.LabelMetadataName] != "gone" {
		t.Fatalf("%v, %v", ns, err)
	}
	if err := nss.Delete(ctx, "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err = nss.Get(ctx, "gone", metav1.GetOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Fatalf("%v, %v", ns, err)
	}
	ns.Spec.Finalizers = nil
	if _, err := nss.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nss.Get(ctx, "gone", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v", err)
	}
}
