package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/utils/ptr"

	"skiff/test/env"
)

func widgets() *apiextensionsv1.CustomResourceDefinition {
	version := func(name string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: storage,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"replicas": {Type: "integer", Default: &apiextensionsv1.JSON{Raw: []byte("1")}, Maximum: ptr.To(10.0)},
					}},
					"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"replicas": {Type: "integer"}}},
				},
			}},
			Subresources: &apiextensionsv1.CustomResourceSubresources{
				Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
				Scale:  &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"},
			},
			AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Replicas", Type: "integer", JSONPath: ".spec.replicas"}},
		}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList", ShortNames: []string{"wd"}},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false)},
		},
	}
}

func testCustomResources(t *testing.T, s *env.Server) {
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, client, "custom")
	if _, err := clientset.NewForConfigOrDie(s.Admin()).ApiextensionsV1().CustomResourceDefinitions().Create(ctx, widgets(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dyn := dynamic.NewForConfigOrDie(s.Remote("kubernetes-admin", "system:masters"))
	v1 := dyn.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace(ns)
	v2 := dyn.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "widgets"}).Namespace(ns)
	widget := func(name string, replicas any) *unstructured.Unstructured {
		spec := map[string]any{"unknown": "pruned"}
		if replicas != nil {
			spec["replicas"] = replicas
		}
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name}, "spec": spec}}
	}
	var made *unstructured.Unstructured
	eventually(t, "widgets are served", func() (bool, error) {
		var err error
		made, err = v1.Create(ctx, widget("w", nil), metav1.CreateOptions{})
		return err == nil, err
	})
	if n, _, _ := unstructured.NestedInt64(made.Object, "spec", "replicas"); n != 1 {
		t.Errorf("defaulted to %d", n)
	}
	if _, ok, _ := unstructured.NestedString(made.Object, "spec", "unknown"); ok {
		t.Error("an unknown field was kept")
	}
	if _, err := v1.Create(ctx, widget("big", int64(11)), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("above the maximum: %v", err)
	}
	if got, err := v2.Get(ctx, "w", metav1.GetOptions{}); err != nil || got.GetAPIVersion() != "example.com/v2" {
		t.Errorf("as v2: %v, %v", got, err)
	}
	if _, err := v1.Patch(ctx, "w", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Errorf("scale: %v", err)
	}
	if _, err := v1.Patch(ctx, "w", types.MergePatchType, []byte(`{"status":{"replicas":3},"spec":{"replicas":9}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("status: %v", err)
	}
	applied, err := v1.Apply(ctx, "w", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "w", "labels": map[string]any{"a": "b"}},
	}}, metav1.ApplyOptions{FieldManager: "test"})
	if err != nil {
		t.Fatal(err)
	}
	replicas, _, _ := unstructured.NestedInt64(applied.Object, "spec", "replicas")
	observed, _, _ := unstructured.NestedInt64(applied.Object, "status", "replicas")
	if replicas != 3 || observed != 3 || applied.GetLabels()["a"] != "b" || applied.GetGeneration() != 2 {
		t.Errorf("after scale, status and apply: %v", applied.Object)
	}
	eventually(t, "discovery and OpenAPI know widgets", func() (bool, error) {
		list, err := client.Discovery().ServerResourcesForGroupVersion("example.com/v1")
		if err != nil || len(list.APIResources) != 3 {
			return false, err
		}
		paths, err := client.Discovery().OpenAPIV3().Paths()
		return err == nil && paths["apis/example.com/v1"] != nil, err
	})
}

// testAggregation serves a group from another process' stand-in and reaches it
// through the API server, which names the caller in headers.
func testAggregation(t *testing.T, s *env.Server) {
	ctx := t.Context()
	extension := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/apis/metrics.example.com/v1":
			fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"metrics.example.com/v1","resources":[{"name":"things","singularName":"thing","namespaced":false,"kind":"Thing","verbs":["get"]}]}`)
		case "/apis/metrics.example.com/v1/things/one":
			fmt.Fprintf(w, `{"kind":"Thing","apiVersion":"metrics.example.com/v1","metadata":{"name":"one"},"user":%q,"groups":%q}`, r.Header.Get("X-Remote-User"), strings.Join(r.Header.Values("X-Remote-Group"), ","))
		default:
			http.NotFound(w, r)
		}
	}))
	defer extension.Close()
	client := kubernetes.NewForConfigOrDie(s.Admin())
	if _, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "extension"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost", Ports: []corev1.ServicePort{{Port: portOf(t, extension)}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := aggregator.NewForConfigOrDie(s.Admin()).ApiregistrationV1().APIServices().Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.metrics.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "metrics.example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "extension", Port: ptr.To(portOf(t, extension))},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	remote := kubernetes.NewForConfigOrDie(s.Remote("alice", "system:masters"))
	eventually(t, "the extension answers", func() (bool, error) {
		data, err := remote.RESTClient().Get().AbsPath("/apis/metrics.example.com/v1/things/one").DoRaw(ctx)
		if err == nil && !strings.Contains(string(data), `"user":"alice","groups":"system:masters,system:authenticated"`) {
			t.Fatalf("the extension saw %s", data)
		}
		return err == nil, err
	})
	eventually(t, "discovery knows things", func() (bool, error) {
		_, lists, err := remote.Discovery().ServerGroupsAndResources()
		for _, l := range lists {
			if l.GroupVersion == "metrics.example.com/v1" && len(l.APIResources) == 1 {
				return true, nil
			}
		}
		return false, err
	})
}
