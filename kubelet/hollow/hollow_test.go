package hollow

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// start runs that many nodes until the test ends.
func start(t *testing.T, count int) (*Nodes, *fake.Clientset) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes, err := New(Config{Count: count}, Deps{Client: client, Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	ended := make(chan error, 1)
	go func() { ended <- nodes.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return nodes, client
}

// Controllers write a node as soon as it is there: that its status conflicts with theirs is no end of the simulation.
func TestStatusConflictsWithOthers(t *testing.T) {
	client := fake.NewClientset()
	conflicts := 2
	client.PrependReactor("update", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		if conflicts == 0 {
			return false, nil, nil
		}
		conflicts--
		return true, nil, apierrors.NewConflict(corev1.Resource("nodes"), "hollow-0", errors.New("the object has been modified"))
	})
	n, err := New(Config{Count: 1}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.register(t.Context(), "hollow-0"); err != nil {
		t.Fatal(err)
	}
	node, err := client.CoreV1().Nodes().Get(t.Context(), "hollow-0", metav1.GetOptions{})
	if err != nil || len(node.Status.Conditions) == 0 || conflicts != 0 {
		t.Errorf("%v, %v, %d conflicts left", node, err, conflicts)
	}
}

func TestPodsRunAndEndAtOnce(t *testing.T) {
	_, client := start(t, 3)
	ctx := t.Context()
	await(t, "3 ready nodes", func() bool {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 3 && len(list.Items[2].Status.Conditions) == 4
	})
	pods := client.CoreV1().Pods("default")
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "u"},
		Spec:       corev1.PodSpec{NodeName: "hollow-1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "running", func() bool {
		var err error
		p, err = pods.Get(ctx, "p", metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" && p.Status.ContainerStatuses[0].Ready
	})
	readiness := func() *corev1.PodCondition {
		i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
		return &p.Status.Conditions[i]
	}
	readiness().Status = corev1.ConditionFalse
	if _, err := pods.UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "ready again after others said that it isn't", func() bool {
		var err error
		p, err = pods.Get(ctx, "p", metav1.GetOptions{})
		return err == nil && readiness().Status == corev1.ConditionTrue
	})
	now := metav1.Now()
	p.DeletionTimestamp = &now
	if _, err := pods.Update(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "gone", func() bool {
		_, err := pods.Get(ctx, "p", metav1.GetOptions{})
		return err != nil
	})
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not %s after 10 s", what)
		case <-tick.C:
		}
	}
}
