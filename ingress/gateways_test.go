package ingress_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// install creates the kinds of the Gateway API's standard channel, v1.4.1, that are read (kubernetes-sigs/gateway-api,
// Apache License 2.0).
func (c *cluster) install() {
	c.t.Helper()
	f, err := os.Open("testdata/gateway-api-v1.4.1.yaml.gz")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		c.t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(z, 4096)
	for {
		crd := &unstructured.Unstructured{}
		if err := decoder.Decode(&crd.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			c.t.Fatal(err)
		}
		if crd.Object == nil {
			continue
		}
		kind := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		must[*unstructured.Unstructured](c.t)(c.customs.Resource(kind).Create(c.t.Context(), crd, metav1.CreateOptions{}))
	}
}

func gatewayKind(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: resource}
}

// custom creates an object of the Gateway API once its kind is served.
func (c *cluster) custom(resource, namespace, text string) {
	c.t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "creating "+o.GetName(), "", func() string {
		if _, err := c.customs.Resource(gatewayKind(resource)).Namespace(namespace).Create(c.t.Context(), o, metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// state answers the conditions below a path of an object's status, as "Type=Status Reason", in their order.
func (c *cluster) state(resource, namespace, name string, path ...string) string {
	o, err := c.customs.Resource(gatewayKind(resource)).Namespace(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	from, _, _ := unstructured.NestedFieldNoCopy(o.Object, path[:len(path)-1]...)
	if list, ok := from.([]any); ok && len(list) > 0 {
		from = list[0]
	}
	m, _ := from.(map[string]any)
	conditions, _, _ := unstructured.NestedSlice(m, path[len(path)-1])
	var out []string
	for _, one := range conditions {
		if m, ok := one.(map[string]any); ok {
			out = append(out, fmt.Sprint(m["type"], "=", m["status"], " ", m["reason"]))
		}
	}
	return strings.Join(out, ", ")
}

// TestGateways installs the Gateway API while the ingress runs, and serves an HTTPRoute.
func TestGateways(t *testing.T) {
	t.Parallel()
	c := start(t, "127.101.0.4")
	c.service("web")
	c.install()
	c.custom("gatewayclasses", "", `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: skiff}, spec: {controllerName: skiff.dev/gateway}}`)
	c.custom("gateways", "default", `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate}
spec:
  gatewayClassName: skiff
  listeners: [{name: http, port: 18080, protocol: HTTP}]
`)
	c.custom("httproutes", "default", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gate}]
  hostnames: [a.test]
  rules: [{backendRefs: [{name: web, port: 80}]}]
`)
	c.answers("a.test", 200, "web")
	c.answers("b.test", 404, "404 Not Found: no route for this host and path\n")
	for _, want := range []struct {
		resource, namespace, name, path, state string
	}{
		{"gatewayclasses", "", "skiff", "status conditions", "Accepted=True Accepted"},
		{"gateways", "default", "gate", "status conditions", "Accepted=True Accepted, Programmed=True Programmed"},
		{"gateways", "default", "gate", "status listeners conditions", "Accepted=True Accepted, Conflicted=False NoConflicts, Programmed=True Programmed, ResolvedRefs=True ResolvedRefs"},
		{"httproutes", "default", "web", "status parents conditions", "Accepted=True Accepted, ResolvedRefs=True ResolvedRefs"},
	} {
		eventually(t, want.resource, want.state, func() string { return c.state(want.resource, want.namespace, want.name, strings.Fields(want.path)...) })
	}
	eventually(t, "its address", nodeAddress, func() string {
		o := must[*unstructured.Unstructured](t)(c.customs.Resource(gatewayKind("gateways")).Namespace("default").Get(t.Context(), "gate", metav1.GetOptions{}))
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "addresses")
		if len(list) != 1 {
			return fmt.Sprint(list)
		}
		value, _, _ := unstructured.NestedString(list[0].(map[string]any), "value")
		return value
	})
	version := func() string {
		return must[*unstructured.Unstructured](t)(c.customs.Resource(gatewayKind("httproutes")).Namespace("default").Get(t.Context(), "web", metav1.GetOptions{})).GetResourceVersion()
	}
	before := version()
	c.ingress("other", "skiff", "c.test", "web") // compiled once more
	c.answers("c.test", 200, "web")
	if version() != before {
		t.Error("the status was written though it is the same")
	}
	if err := c.customs.Resource(gatewayKind("gateways")).Namespace("default").Delete(t.Context(), "gate", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.answers("a.test", 404, "404 Not Found: no route for this host and path\n")
	eventually(t, "the route without its gateway", "", func() string { return c.state("httproutes", "default", "web", "status", "parents", "conditions") })
}
