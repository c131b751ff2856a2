package objects

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// podWith names a ConfigMap in a volume and a Secret to pull by.
func podWith(name, configMap, secret string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}}}}
	return p
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// TestWantedFollowsWhatPodsName: the caches have just what the pods name, as it changes, comes and goes.
func TestWantedFollowsWhatPodsName(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(
		podWith("first", "settings", "keys"),
		&corev1.ConfigMap{ObjectMeta: meta("settings", "1")}, &corev1.ConfigMap{ObjectMeta: meta("nobodys", "1")},
		&corev1.Secret{ObjectMeta: meta("keys", "1")}, &corev1.Secret{ObjectMeta: meta("nobodys", "1")},
	)
	factory := informers.NewSharedInformerFactory(client, 0)
	w, err := NewWanted(client, factory)
	if err != nil {
		t.Fatal(err)
	}
	New(client, factory)
	maps, secrets := factory.Core().V1().ConfigMaps().Informer().GetStore(), factory.Core().V1().Secrets().Informer().GetStore()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	}()
	has := func(wantMaps, wantSecrets string) func() bool {
		return func() bool {
			keys := append(maps.ListKeys(), "|")
			slices.Sort(keys[:len(keys)-1])
			all := secrets.ListKeys()
			slices.Sort(all)
			return strings.Join(append(keys, all...), " ") == strings.TrimSpace(wantMaps+" | "+wantSecrets)
		}
	}
	eventually(t, "the first pod's objects", has("shop/settings", "shop/keys"))

	changed := &corev1.ConfigMap{ObjectMeta: meta("settings", "2"), Data: map[string]string{"color": "blue"}}
	if _, err := client.CoreV1().ConfigMaps("shop").Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change", func() bool {
		o, _, _ := maps.GetByKey("shop/settings")
		m, ok := o.(*corev1.ConfigMap)
		return ok && m.Data["color"] == "blue"
	})
	// A second pod shares one and names another that comes later.
	if _, err := client.CoreV1().Pods("shop").Create(ctx, podWith("second", "settings", "later"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets("shop").Create(ctx, &corev1.Secret{ObjectMeta: meta("later", "1")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second pod's secret", has("shop/settings", "shop/keys shop/later"))
	if err := client.CoreV1().Secrets("shop").Delete(ctx, "later", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion", has("shop/settings", "shop/keys"))
	for pod, left := range map[string]string{"first": "shop/settings"} {
		if err := client.CoreV1().Pods("shop").Delete(ctx, pod, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of "+pod, has(left, ""))
	}
	if err := client.CoreV1().Pods("shop").Delete(ctx, "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the second", func() bool { return len(maps.ListKeys())+len(secrets.ListKeys()) == 0 })
}
