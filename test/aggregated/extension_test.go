package aggregated

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"skiff/test/env"
	"skiff/test/rawapi"
)

// TestExtensions registers small servers of this process.
func TestExtensions(t *testing.T) {
	s := env.Start(t, env.Options{})
	a := rawapi.New(t, s.Remote("kubernetes-admin", "system:masters"))
	a.Must(t, "POST", "/api/v1/namespaces", "{apiVersion: v1, kind: Namespace, metadata: {name: ext}}")
	t.Run("conditions", func(t *testing.T) { testConditions(t, a) })
	t.Run("refused", func(t *testing.T) { testRefused(t, a) })
	t.Run("proxy", func(t *testing.T) { testProxy(t, s, a) })
	t.Run("order", func(t *testing.T) { testOrder(t, a) })
	t.Run("local", func(t *testing.T) { testLocal(t, a) })
}

// register makes the APIService v1.GROUP for a Service of namespace ext.
func register(t *testing.T, a *rawapi.API, group, service, more string) (path string) {
	t.Helper()
	a.Must(t, "POST", services, fmt.Sprintf(`{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.%[1]s}, spec: {
		group: %[1]s, version: v1, insecureSkipTLSVerify: true, service: {namespace: ext, name: %[2]s}, %[3]s}}`, group, service, more))
	return services + "/v1." + group
}

const ranked = "groupPriorityMinimum: 100, versionPriority: 10"

// testConditions meets everything that makes an APIService unavailable.
func testConditions(t *testing.T, a *rawapi.API) {
	path := register(t, a, "conditions.test", "backend", ranked)
	message := func(want string) {
		t.Helper()
		if got := fmt.Sprint(rawapi.At(a.Must(t, "GET", path, "").Object, "status.conditions.0.message")); !strings.Contains(got, want) {
			t.Errorf("the message is %q, want %q", got, want)
		}
	}
	condition(t, a, path, "False ServiceNotFound")
	message(`service/backend in "ext" is not present`)
	a.Must(t, "POST", "/api/v1/namespaces/ext/services", "{apiVersion: v1, kind: Service, metadata: {name: backend}, spec: {ports: [{name: web, port: 80}]}}")
	condition(t, a, path, "False ServicePortError")
	message(`service/backend in "ext" is not listening on port 443`)
	a.Must(t, "PATCH", "/api/v1/namespaces/ext/services/backend", `{"spec":{"ports":[{"name":"web","port":443}]}}`, "Content-Type", "application/merge-patch+json")
	condition(t, a, path, "False EndpointsNotFound")
	slice := "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: backend, labels: {kubernetes.io/service-name: backend}}, addressType: IPv4, ports: [{name: other, port: 1}], endpoints: [{addresses: [192.0.2.1]}]}"
	a.Must(t, "POST", "/apis/discovery.k8s.io/v1/namespaces/ext/endpointslices", slice)
	condition(t, a, path, "False MissingEndpoints")
	message(`endpointslices for service/backend in "ext" have no addresses with port name "web"`)
	if got, err := a.Send(t.Context(), "GET", "/apis/conditions.test/v1", ""); err != nil || got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an unavailable group: %v, %v", got, err)
	} else {
		got.Body.Close()
	}
	a.Must(t, "GET", "/apis/apps/v1", "")
}

func testRefused(t *testing.T, a *rawapi.API) {
	for spec, want := range map[string]string{
		"group: x.test, version: v1, groupPriorityMinimum: 0, versionPriority: 1":                                                                                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
		"group: x.test, version: v1, groupPriorityMinimum: 1, versionPriority: 1001":                                                                             "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
		"group: other.test, version: v1, groupPriorityMinimum: 1, versionPriority: 1":                                                                            "metadata.name: Invalid value: \"v1.x.test\": must be `spec.version+\".\"+spec.group`",
		"group: x.test, version: v1, groupPriorityMinimum: 1, versionPriority: 1, insecureSkipTLSVerify: true":                                                   "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
		"group: x.test, version: v1, groupPriorityMinimum: 1, versionPriority: 1, insecureSkipTLSVerify: true, caBundle: YQ==, service: {name: a, namespace: b}": "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
		"group: x.test, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {name: a}":                                                            "spec.service.namespace: Required value",
	} {
		got := a.Do(t, "POST", services, "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.x.test}, spec: {"+spec+"}}")
		if message := fmt.Sprint(got.Object["message"]); got.Code != http.StatusUnprocessableEntity || !strings.Contains(message, want) {
			t.Errorf("%s: %d %s\nwant %s", spec, got.Code, message, want)
		}
	}
}

// extend serves group.test by handler, which need not know of discovery.
func extend(t *testing.T, a *rawapi.API, group string, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apis/"+group+"/v1" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"%s/v1","resources":[{"name":"things","kind":"Thing","verbs":["get"]}]}`, group)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ReplaceAll(group, ".", "-")
	a.Must(t, "POST", "/api/v1/namespaces/ext/services", fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {type: ExternalName, externalName: localhost, ports: [{port: %s}]}}", name, port))
	path := register(t, a, group, name+", port: "+port, ranked)
	condition(t, a, path, "True Passed")
}

// testProxy sends what a proxy may get wrong: identity, upgrades, redirects,
// streams.
func testProxy(t *testing.T, s *env.Server, a *rawapi.API) {
	const things = "/apis/proxy.test/v1/things"
	var stolen atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Store(true) }))
	defer thief.Close()
	release := make(chan struct{})
	extend(t, a, "proxy.test", func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, things) {
		case "/me":
			fmt.Fprint(w, rawapi.Flat([]any{r.Header.Get("X-Remote-User"), r.Header.Values("X-Remote-Group"), r.Header.Get("Authorization"), r.URL.Query().Get("q")}))
		case "/moved":
			http.Redirect(w, r, thief.URL, http.StatusFound)
		case "/stream":
			fmt.Fprintln(w, "first")
			http.NewResponseController(w).Flush()
			<-release
			fmt.Fprintln(w, "second")
		case "/upgrade":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			rw.Flush()
			line, _ := rw.ReadString('\n')
			fmt.Fprint(rw, "echo "+line)
			rw.Flush()
		}
	})
	rawapi.Eventually(t, "the proxy knows", func() (bool, string) {
		got := a.Do(t, "GET", things+"/me?q=1", "", "X-Remote-User", "mallory", "X-Remote-Group", "evil")
		return strings.HasPrefix(got.Body, `["kubernetes-admin",["system:masters","system:authenticated"],"","1"]`), got.Body
	})
	got := a.Do(t, "GET", things+"/moved", "")
	if stolen.Load() || got.Code < 300 {
		t.Errorf("a redirect was followed: %d %s", got.Code, got.Body)
	}
	res, err := a.Send(t.Context(), "GET", things+"/stream?watch=1", "")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Errorf("the stream began with %q, %v", line, err)
	}
	close(release)
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Errorf("the stream went on with %q, %v", line, err)
	}
	testUpgrade(t, s, things)
}

// testUpgrade speaks another protocol through the proxy, as exec does.
func testUpgrade(t *testing.T, s *env.Server, things string) {
	base, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	public, key, err := s.PKI.Issue("kubernetes-admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(public, key)
	if err != nil {
		t.Fatal(err)
	}
	dialer := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}} //nolint:gosec // the test's own server
	conn, err := dialer.DialContext(t.Context(), "tcp", base.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", things, base.Host)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrading: %v, %v", res, err)
	}
	fmt.Fprintln(conn, "hello")
	if line, err := in.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("echoed %q, %v", line, err)
	}
	_, _ = io.Copy(io.Discard, in)
}

// testOrder compares the order of groups in discovery with their priorities.
func testOrder(t *testing.T, a *rawapi.API) {
	for group, priority := range map[string]int{"low.test": 10, "high.test": 19000} {
		register(t, a, group, "none", fmt.Sprintf("groupPriorityMinimum: %d, versionPriority: 1", priority))
	}
	rawapi.Eventually(t, "groups are in order", func() (bool, string) {
		var names []string
		groups, _ := a.Must(t, "GET", "/apis", "").Object["groups"].([]any)
		for _, g := range groups {
			names = append(names, fmt.Sprint(rawapi.At(g, "name")))
		}
		text := strings.Join(names, " ") + " "
		first := strings.HasPrefix(text, "high.test apiregistration.k8s.io ") || strings.HasPrefix(text, "apiregistration.k8s.io high.test ")
		return first && strings.Index(text, "low.test ") > strings.Index(text, "apps "), text
	})
}

// testLocal looks at the APIServices that the server keeps for its own groups.
func testLocal(t *testing.T, a *rawapi.API) {
	got := a.Must(t, "GET", services+"/v1.apps", "")
	if rawapi.At(got.Object, "status.conditions.0.reason") != "Local" || rawapi.Flat(rawapi.At(got.Object, "metadata.labels")) != `{"kube-aggregator.kubernetes.io/automanaged":"onstart"}` {
		t.Errorf("v1.apps: %s", got.Body)
	}
	a.Must(t, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: things.local.test}, spec: {group: local.test, scope: Cluster,
		names: {plural: things, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`)
	rawapi.Eventually(t, "v1.local.test is kept", func() (bool, string) {
		got := a.Do(t, "GET", services+"/v1.local.test", "")
		return rawapi.Flat(rawapi.At(got.Object, "metadata.labels")) == `{"kube-aggregator.kubernetes.io/automanaged":"true"}`, got.Body
	})
	before := rawapi.At(a.Must(t, "GET", services+"/v1.local.test", "").Object, "metadata.uid")
	a.Must(t, "DELETE", services+"/v1.local.test", "")
	rawapi.Eventually(t, "v1.local.test is made again", func() (bool, string) {
		got := a.Do(t, "GET", services+"/v1.local.test", "")
		return got.Code == http.StatusOK && rawapi.At(got.Object, "metadata.uid") != before, got.Body
	})
}
