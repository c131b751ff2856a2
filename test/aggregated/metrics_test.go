package aggregated

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"skiff/test/env"
	"skiff/test/rawapi"
)

const (
	usage  = "/apis/metrics.k8s.io/v1beta1"
	usages = services + "/v1beta1.metrics.k8s.io"
)

// TestMetricsServer installs another server for metrics.k8s.io, which takes the
// place of this one's own, and removes it.
func TestMetricsServer(t *testing.T) {
	s := env.Start(t, env.Options{})
	a := rawapi.New(t, s.Remote("kubernetes-admin", "system:masters"))
	theirs := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case usage:
			fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"metrics.k8s.io/v1beta1","resources":[{"name":"nodes","kind":"NodeMetrics","verbs":["get","list"],"shortNames":["theirs"]}]}`)
		case usage + "/nodes":
			fmt.Fprint(w, `{"kind":"NodeMetricsList","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"resourceVersion":"theirs"},"items":[]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(theirs.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(theirs.URL, "https://"), ":")
	a.Must(t, "POST", "/api/v1/namespaces", "{apiVersion: v1, kind: Namespace, metadata: {name: ext}}")
	a.Must(t, "POST", "/api/v1/namespaces/ext/services", fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: metrics-server}, spec: {type: ExternalName, externalName: localhost, ports: [{port: %s}]}}", port))
	install := fmt.Sprintf(`{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.metrics.k8s.io}, spec: {group: metrics.k8s.io, version: v1beta1,
		insecureSkipTLSVerify: true, service: {namespace: ext, name: metrics-server, port: %s}, %s}}`, port, ranked)

	serve(t, a, "ours", false)
	for range 2 {
		// Helm installs only what isn't there.
		if got := a.Do(t, "GET", usages, ""); got.Code != http.StatusNotFound {
			t.Fatalf("there is an APIService: %s", got.Body)
		}
		a.Must(t, "POST", services, install)
		condition(t, a, usages, "True Passed")
		serve(t, a, "theirs", true)
		a.Must(t, "DELETE", usages, "")
		serve(t, a, "ours again", false)
	}
	// kubectl apply makes what it doesn't find, too; who registers no server gets this one's.
	a.Must(t, "POST", services, "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.metrics.k8s.io}, spec: {group: metrics.k8s.io, version: v1beta1, "+ranked+"}}")
	condition(t, a, usages, "True Local")
	serve(t, a, "ours by an APIService", false)
}

// serve waits until requests and both forms of discovery are the one server's.
func serve(t *testing.T, a *rawapi.API, what string, theirs bool) {
	t.Helper()
	rawapi.Eventually(t, what, func() (bool, string) {
		got := a.Do(t, "GET", usage+"/nodes", "")
		return got.Code == http.StatusOK && strings.Contains(got.Body, "theirs") == theirs, got.Body
	})
	rawapi.Eventually(t, what+" in aggregated discovery", func() (bool, string) {
		got := a.Do(t, "GET", "/apis", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		return strings.Count(got.Body, `"name":"metrics.k8s.io"`) == 1 && strings.Contains(got.Body, `"theirs"`) == theirs, got.Body
	})
	for _, path := range []string{"/apis", "/apis/"} {
		got := a.Must(t, "GET", path, "")
		if n := strings.Count(got.Body, `"name":"metrics.k8s.io"`); n != 1 {
			t.Errorf("%s, %s: the group is named %d times", what, path, n)
		}
	}
	if got := a.Must(t, "GET", "/apis/metrics.k8s.io", ""); !strings.Contains(got.Body, `"groupVersion":"metrics.k8s.io/v1beta1"`) {
		t.Errorf("%s: the group is %s", what, got.Body)
	}
}
