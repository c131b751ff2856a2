package podcertificatecleaner

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"

	"skiff/controllers/internal/controller"
)

// TestLife lets a request live for a quarter of an hour.
func TestLife(t *testing.T) {
	born := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	request := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "shop", UID: "1", CreationTimestamp: metav1.NewTime(born)}}
	client, clock := fake.NewClientset(request), clocktesting.NewFakeClock(born.Add(time.Minute))
	factory := informers.NewSharedInformerFactory(client, 0)
	spec, err := New(controller.Env{Client: client, Informers: factory, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := factory.Certificates().V1().PodCertificateRequests().Informer().GetIndexer().Add(request); err != nil {
		t.Fatal(err)
	}
	ctx, key := t.Context(), controller.KeyOf(request)
	if again, err := spec.Reconcile(ctx, key); err != nil || again.RequeueAfter != 14*time.Minute {
		t.Errorf("a young request: again in %s, %v", again.RequeueAfter, err)
	}
	if _, err := client.CertificatesV1().PodCertificateRequests("shop").Get(ctx, "a", metav1.GetOptions{}); err != nil {
		t.Errorf("a young request is gone: %v", err)
	}
	clock.Step(14 * time.Minute)
	for range 2 { // the second time it is gone, but still in the cache
		if again, err := spec.Reconcile(ctx, key); err != nil || again.RequeueAfter != 0 {
			t.Errorf("an old request: again in %s, %v", again.RequeueAfter, err)
		}
	}
	if _, err := client.CertificatesV1().PodCertificateRequests("shop").Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an old request is there: %v", err)
	}
	keys := spec.Watches[0].Keys
	if len(keys(nil, request)) != 1 || len(keys(request, request)) != 0 || len(keys(request, nil)) != 0 {
		t.Error("not just new requests are looked at")
	}
}
