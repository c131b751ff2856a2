package objects

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func meta(name, version string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: version}
}

func TestAMissInTheCacheIsAskedOfTheAPI(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: meta("there", "1")}, &corev1.Secret{ObjectMeta: meta("there", "1")}, &corev1.Secret{ObjectMeta: meta("refused", "1")},
	)
	client.PrependReactor("get", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.GetAction).GetName() == "refused" {
			return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "refused", nil)
		}
		return false, nil, nil
	})
	r := New(client, informers.NewSharedInformerFactory(client, 0)) // a cache that holds nothing yet
	if found, err := r.ConfigMap(t.Context(), "shop", "there"); err != nil || found.Name != "there" {
		t.Errorf("the ConfigMap is %v (%v)", found, err)
	}
	if found, err := r.Secret(t.Context(), "shop", "there"); err != nil || found.Name != "there" {
		t.Errorf("the Secret is %v (%v)", found, err)
	}
	if _, err := r.ConfigMap(t.Context(), "shop", "x"); !apierrors.IsNotFound(err) || err.Error() != `configmap "x" not found` {
		t.Errorf("a missing ConfigMap: %v", err)
	}
	for _, name := range []string{"x", "refused"} {
		if _, err := r.Secret(t.Context(), "shop", name); !apierrors.IsNotFound(err) || err.Error() != `secret "`+name+`" not found` {
			t.Errorf("a missing Secret: %v", err)
		}
	}
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: meta("settings", "1")})
	factory := informers.NewSharedInformerFactory(client, 0)
	r := New(client, factory)
	told := make(chan Ref, 10)
	if err := r.Watch(func(ref Ref) { told <- ref }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer factory.Shutdown()
	defer cancel()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	expect := func(want Ref) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told %v, want %v", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%v was not told", want)
		}
	}
	expect(Ref{ConfigMap, "shop", "settings"})
	update := func(version string) {
		t.Helper()
		if _, err := client.CoreV1().ConfigMaps("shop").Update(ctx, &corev1.ConfigMap{ObjectMeta: meta("settings", version)}, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	update("1") // as a resync would: nothing changed
	update("2")
	expect(Ref{ConfigMap, "shop", "settings"})
	if _, err := client.CoreV1().Secrets("shop").Create(ctx, &corev1.Secret{ObjectMeta: meta("keys", "3")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(Ref{Secret, "shop", "keys"})
	if err := client.CoreV1().Secrets("shop").Delete(ctx, "keys", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(Ref{Secret, "shop", "keys"})
	if !r.HasSynced() || len(told) > 0 {
		t.Errorf("synced %v, %d more told", r.HasSynced(), len(told))
	}
}
