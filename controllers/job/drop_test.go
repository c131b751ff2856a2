package job

import (
	"context"
	"encoding/json"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

// A pod that the job has too many of may have ended where the cache shows it running. Its end must count.
func TestDropLeavesPodsThatChanged(t *testing.T) {
	pod := func(name, version string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", ResourceVersion: version, Finalizers: []string{batchv1.JobTrackingFinalizer}}}
	}
	client := fake.NewClientset(pod("same", "1"), pod("changed", "2"))
	client.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch, ok := a.(clienttesting.PatchAction)
		var body struct{ Metadata metav1.ObjectMeta }
		if !ok || json.Unmarshal(patch.GetPatch(), &body) != nil {
			return false, nil, nil
		}
		if now := map[string]string{"same": "1", "changed": "2"}[patch.GetName()]; body.Metadata.ResourceVersion != now {
			return true, nil, apierrors.NewConflict(corev1.Resource("pods"), patch.GetName(), context.Canceled)
		}
		return false, nil, nil
	})
	key := controller.Key{Namespace: "shop", Name: "sums"}
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
	r := &reconciler{env: controller.Env{Client: client}, pods: pods}
	control := podset.Control{Client: client, Events: record.NewFakeRecorder(9), Log: &r.log, Store: pods, Key: key, Object: &batchv1.Job{}}
	if err := r.drop(t.Context(), key, control, []*corev1.Pod{pod("same", "1"), pod("changed", "1")}); err != nil {
		t.Fatal(err)
	}
	left, err := client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 1 || left.Items[0].Name != "changed" || len(left.Items[0].Finalizers) != 1 {
		t.Errorf("left: %+v, %v", left.Items, err)
	}
}
