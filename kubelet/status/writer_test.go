package status

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func run(t *testing.T, w *Writer) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s after 5 s", what)
		}
	}
}

func TestWriterWritesTheLatestAndDeletes(t *testing.T) {
	p := input().Pod
	client := fake.NewClientset(p)
	var patches atomic.Int32
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if patches.Add(1) == 1 {
			return true, nil, errors.New("the API is away")
		}
		return false, nil, nil
	})
	w := NewWriter(client.CoreV1())
	run(t, w)
	get := func() (*corev1.Pod, error) {
		return client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
	}

	w.Set(p, corev1.PodStatus{Phase: corev1.PodPending}, false)
	w.Set(p, corev1.PodStatus{Phase: corev1.PodRunning}, false)
	eventually(t, "running in spite of a failure", func() bool {
		got, err := get()
		return err == nil && got.Status.Phase == corev1.PodRunning
	})
	before := patches.Load()
	w.Set(p, corev1.PodStatus{Phase: corev1.PodRunning}, true)
	deleted := p.DeepCopy()
	stamp := metav1.Now()
	deleted.DeletionTimestamp = &stamp
	w.Set(deleted, corev1.PodStatus{Phase: corev1.PodSucceeded}, false)
	eventually(t, "succeeded", func() bool {
		got, err := get()
		return err == nil && got.Status.Phase == corev1.PodSucceeded
	})
	if n := patches.Load() - before; n != 1 {
		t.Errorf("%d patches for one change", n)
	}
	w.Set(deleted, corev1.PodStatus{Phase: corev1.PodSucceeded}, true)
	eventually(t, "gone", func() bool {
		_, err := get()
		return apierrors.IsNotFound(err)
	})
}

func TestWriterLeavesOthersConditions(t *testing.T) {
	p := input().Pod
	p.Status.Conditions = []corev1.PodCondition{{Type: "x/y", Status: corev1.ConditionFalse}}
	client := fake.NewClientset(p)
	w := NewWriter(client.CoreV1())
	run(t, w)
	// The API moves on while the node still sees the old condition.
	fresh := p.DeepCopy()
	fresh.Status.Conditions[0].Status = corev1.ConditionTrue
	if _, err := client.CoreV1().Pods("ns").UpdateStatus(t.Context(), fresh, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	in := input()
	in.Pod = p
	w.Set(p, Compute(in), false)
	eventually(t, "written", func() bool {
		got, err := client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
		if err != nil || got.Status.Phase != corev1.PodRunning {
			return false
		}
		if c := find(got.Status.Conditions, "x/y"); c == nil || c.Status != corev1.ConditionTrue {
			t.Fatalf("conditions %v", got.Status.Conditions)
		}
		return true
	})
}
