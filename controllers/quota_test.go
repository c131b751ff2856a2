package controllers_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// used waits until a quota's status has the limits of its spec and says that so much of each is used.
func (c *cluster) used(namespace, name string, want map[corev1.ResourceName]string) {
	c.t.Helper()
	c.eventually("usage", func(ctx context.Context) string {
		q, err := c.client.CoreV1().ResourceQuotas(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for resource, text := range want {
			used, ok := q.Status.Used[resource]
			if hard, limited := q.Status.Hard[resource]; !ok || used.Cmp(mustQuantity(text)) != 0 || !limited || hard.Cmp(q.Spec.Hard[resource]) != 0 {
				return fmt.Sprintf("%s: want %s used: %+v", resource, text, q.Status)
			}
		}
		return ""
	})
}

func limit(hard map[corev1.ResourceName]string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, text := range hard {
		out[name] = mustQuantity(text)
	}
	return out
}

func worker(name, cpu string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template(nil, "v1").Spec}
	pod.Spec.Containers[0].Resources.Requests = limit(map[corev1.ResourceName]string{"cpu": cpu})
	return pod
}

func TestQuotaStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	pods, quotas := c.client.CoreV1().Pods("shop"), c.client.CoreV1().ResourceQuotas("shop")
	if _, err := pods.Create(ctx, worker("early", "100m"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	q, err := quotas.Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q"},
		Spec:       corev1.ResourceQuotaSpec{Hard: limit(map[corev1.ResourceName]string{"pods": "2", "requests.cpu": "500m", "count/ingresses.networking.k8s.io": "1"})},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "1", "requests.cpu": "100m", "count/ingresses.networking.k8s.io": "0"})

	if _, err := pods.Create(ctx, worker("big", "450m"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("beyond the quota: %v", err)
	}
	if _, err := pods.Create(ctx, worker("late", "400m"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "2", "requests.cpu": "500m"})
	if err := pods.Delete(ctx, "early", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "1", "requests.cpu": "400m"})

	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "i"}, Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}
	ingresses := c.client.NetworkingV1().Ingresses("shop")
	if _, err := ingresses.Create(ctx, ingress, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"count/ingresses.networking.k8s.io": "1"})
	if err := ingresses.Delete(ctx, "i", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"count/ingresses.networking.k8s.io": "0"})

	kind, patch := merge(`{"spec":{"hard":{"pods":"5","requests.cpu":null,"services.nodeports":"3"}}}`)
	if q, err = quotas.Patch(ctx, q.Name, kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "1", "services.nodeports": "0"})
	if q, err = quotas.Get(ctx, "q", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := q.Status.Used["requests.cpu"]; ok {
		t.Errorf("what is no longer limited is still counted: %v", q.Status.Used)
	}
}

// TestQuotaCountsEndedPods tells what is stored from what may run.
func TestQuotaCountsEndedPods(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	if _, err := c.client.CoreV1().ResourceQuotas("shop").Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: limit(map[corev1.ResourceName]string{"pods": "2", "count/pods": "2"})},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "0", "count/pods": "0"})
	pod := worker("p", "1m")
	pod.Spec.NodeName = "elsewhere"
	if _, err := c.client.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "1", "count/pods": "1"})
	kind, patch := merge(`{"status":{"phase":"Succeeded"}}`)
	if _, err := c.client.CoreV1().Pods("shop").Patch(ctx, "p", kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	c.used("shop", "q", map[corev1.ResourceName]string{"pods": "0", "count/pods": "1"})
}

// TestQuotaCountsCustomResources counts a kind that is served before its quota.
func TestQuotaCountsCustomResources(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	yes := true
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "shelves.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "shelves", Kind: "Shelf"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &yes}},
			}},
		},
	}
	definitions := apiextensions.NewForConfigOrDie(c.server.Admin()).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := definitions.Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	shelves := dynamic.NewForConfigOrDie(c.server.Admin()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "shelves"}).Namespace("shop")
	shelf := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Shelf", "metadata": map[string]any{"name": name}}}
	}
	c.eventually("the kind is served", func(ctx context.Context) string {
		if _, err := shelves.Create(ctx, shelf("a"), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		lists, err := c.client.Discovery().ServerResourcesForGroupVersion("example.com/v1")
		if err != nil || len(lists.APIResources) == 0 {
			return fmt.Sprint("not discovered: ", err)
		}
		return ""
	})
	if _, err := c.client.CoreV1().ResourceQuotas("shop").Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: limit(map[corev1.ResourceName]string{"count/shelves.example.com": "2"})},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	count := func(n string) { c.used("shop", "q", map[corev1.ResourceName]string{"count/shelves.example.com": n}) }
	count("1")
	c.eventually("admission knows the count", func(ctx context.Context) string {
		if _, err := shelves.Create(ctx, shelf("b"), metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	count("2")
	if _, err := shelves.Create(ctx, shelf("c"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a third: %v", err)
	}
	if err := shelves.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	count("1")
}
