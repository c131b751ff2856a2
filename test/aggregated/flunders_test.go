package aggregated

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"skiff/controllers"
	"skiff/test/cluster"
	"skiff/test/env"
	"skiff/test/rawapi"
)

const (
	group    = "/apis/wardle.example.com/v1alpha1"
	services = "/apis/apiregistration.k8s.io/v1/apiservices"
	wardle   = services + "/v1alpha1.wardle.example.com"
)

// TestSampleAPIServer installs the sample API server as its documentation says
// and uses it through the cluster's API.
func TestSampleAPIServer(t *testing.T) {
	s := env.Start(t, env.Options{})
	runControllers(t, s)
	a := rawapi.New(t, s.Remote("kubernetes-admin", "system:masters"))
	kubectl := func(stdin string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), cluster.Binary(t, "build/clients/kubectl"), append([]string{"--kubeconfig", s.Kubeconfig(), "--cache-dir", t.TempDir()}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := kubectl(stdin, args...)
		if err != nil {
			t.Fatalf("kubectl %v: %s", args, out)
		}
		return out
	}
	for _, file := range []string{"ns", "sa", "auth-delegator", "auth-reader", "rbac", "rbac-bind"} {
		// The example's role is older than mutating policies, which the sample reads too.
		must(strings.Replace(manifest(t, "example/"+file+".yaml"), `"validatingadmissionpolicies"`, `"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies"`, 1), "apply", "-f", "-")
	}
	p := newSample(t, s)
	must(fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: api, namespace: wardle}, spec: {type: ExternalName, externalName: localhost, ports: [{port: %d}]}}", p.port), "apply", "-f", "-")
	must(strings.Replace(manifest(t, "example/apiservice.yaml"), "namespace: wardle", "namespace: wardle\n    port: "+strconv.Itoa(p.port), 1), "apply", "-f", "-")
	available(t, a, "True Passed")
	if got := must("", "get", "apiservice", "v1alpha1.wardle.example.com"); !strings.Contains(strings.Join(strings.Fields(got), " "), "NAME SERVICE AVAILABLE AGE v1alpha1.wardle.example.com wardle/api True") {
		t.Errorf("kubectl get apiservice: %s", got)
	}
	must("", "create", "namespace", "team")
	must(manifest(t, "flunders/01-flunder.yaml"), "create", "-n", "team", "-f", "-")
	if got := must("", "get", "flunders", "-A"); !strings.Contains(got, "my-first-flunder") {
		t.Errorf("kubectl get flunders: %s", got)
	}
	t.Run("published", func(t *testing.T) { testPublished(t, a) })
	t.Run("objects", func(t *testing.T) { testObjects(t, a) })
	t.Run("admission", func(t *testing.T) { testAdmission(t, a) })
	t.Run("access", func(t *testing.T) { testAccess(t, s, p, a) })
	t.Run("certificates", func(t *testing.T) { testCertificates(t, p, a) })
	t.Run("namespace", func(t *testing.T) { testNamespace(t, a) })
	t.Run("outage", func(t *testing.T) { testOutage(t, p, a) })
}

// runControllers runs the cluster's controllers until the test ends.
func runControllers(t *testing.T, s *env.Server) {
	t.Helper()
	c, err := controllers.New(controllers.Default(), controllers.Deps{ClientConfig: s.Config, Informers: s.Informers, RootCA: s.PKI.CA()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s.Informers.Start(ctx.Done())
	var g errgroup.Group
	g.Go(func() error { return c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
}

// available waits until the condition of the sample's APIService is as wanted.
func available(t *testing.T, a *rawapi.API, want string) {
	t.Helper()
	condition(t, a, wardle, want)
}

// condition waits until an APIService is available or not, for the reason. It
// touches the APIService, or its server would be asked every half minute only.
func condition(t *testing.T, a *rawapi.API, path, want string) {
	t.Helper()
	touch := `{"metadata":{"annotations":{"touched":"` + rand.Text() + `"}}}`
	a.Must(t, "PATCH", path, touch, "Content-Type", "application/merge-patch+json")
	rawapi.Eventually(t, path+" is "+want, func() (bool, string) {
		got := a.Do(t, "GET", path, "")
		c := rawapi.At(got.Object, "status.conditions.0")
		return fmt.Sprintf("%v %v", rawapi.At(c, "status"), rawapi.At(c, "reason")) == want, got.Body
	})
}

func testPublished(t *testing.T, a *rawapi.API) {
	var names []string
	list, _ := rawapi.At(a.Must(t, "GET", group, "").Object, "resources").([]any)
	for _, r := range list {
		names = append(names, fmt.Sprint(rawapi.At(r, "name")))
	}
	if rawapi.Flat(names) != `["fischers","flunders"]` {
		t.Errorf("discovery: %v", names)
	}
	rawapi.Eventually(t, "aggregated discovery has flunders", func() (bool, string) {
		_, freshness, body := discovered(t, a)
		return freshness == "Current", body
	})
	rawapi.Eventually(t, "OpenAPI has flunders", func() (bool, string) {
		v2, v3 := a.Must(t, "GET", "/openapi/v2", ""), a.Do(t, "GET", "/openapi/v3"+group, "")

		paths, _ := v2.Object["paths"].(map[string]any)
		return strings.Contains(v2.Body, ".Flunder\"") && paths[group+"/namespaces/{namespace}/flunders"] != nil && paths["/api/v1/pods"] != nil && strings.Contains(v3.Body, "Flunder"), v3.Body
	})
}

// discovered answers what aggregated discovery says of the sample's group, and
// how many groups there are.
func discovered(t *testing.T, a *rawapi.API) (groups int, freshness, body string) {
	t.Helper()
	got := a.Must(t, "GET", "/apis", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	items, _ := got.Object["items"].([]any)
	for _, item := range items {
		if rawapi.At(item, "metadata.name") == "wardle.example.com" {
			return len(items), fmt.Sprint(rawapi.At(item, "versions.0.freshness")), rawapi.Flat(item)
		}
	}
	return len(items), "", rawapi.Flat(items)
}

func flunder(name string) string {
	return "{apiVersion: wardle.example.com/v1alpha1, kind: Flunder, metadata: {name: " + name + "}}"
}

const flunders = group + "/namespaces/team/flunders"

// testObjects writes, reads and watches through the proxy.
func testObjects(t *testing.T, a *rawapi.API) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := a.Watch(ctx, t, flunders+"?watch=1&fieldSelector=metadata.name%3Dx")
	next := func(kind string) map[string]any {
		t.Helper()
		e := <-events
		if e["type"] != kind {
			t.Fatalf("got %s, want %s", rawapi.Flat(e), kind)
		}
		return e
	}
	a.Must(t, "POST", flunders, flunder("x"))
	next("ADDED")
	a.Must(t, "PATCH", flunders+"/x", `{"spec":{"reference":"y"}}`, "Content-Type", "application/merge-patch+json")
	if e := next("MODIFIED"); rawapi.Flat(rawapi.At(e, "object.spec")) != `{"reference":"y","referenceType":"Flunder"}` {
		t.Errorf("patched: %s", rawapi.Flat(e))
	}
	applied := a.Must(t, "PATCH", flunders+"/x?fieldManager=m", strings.Replace(flunder("x"), "name: x", "name: x, labels: {a: b}", 1), "Content-Type", "application/apply-patch+yaml")
	if rawapi.At(applied.Object, "metadata.labels.a") != "b" {
		t.Errorf("applied: %s", applied.Body)
	}
	next("MODIFIED")
	if got := a.Must(t, "GET", flunders, "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"); got.Object["kind"] != "Table" {
		t.Errorf("as a table: %s", got.Body)
	}
	a.Must(t, "DELETE", flunders+"/x", "")
	next("DELETED")
	if got := a.Do(t, "GET", flunders+"/x", ""); got.Code != http.StatusNotFound || rawapi.At(got.Object, "message") != `flunders.wardle.example.com "x" not found` {
		t.Errorf("after the deletion: %d %s", got.Code, got.Body)
	}
}

// testAdmission tries the sample's own plugin, and policies of the cluster,
// which the sample reads through its kubeconfig.
func testAdmission(t *testing.T, a *rawapi.API) {
	a.Must(t, "POST", group+"/fischers", "{apiVersion: wardle.example.com/v1alpha1, kind: Fischer, metadata: {name: f}, disallowedFlunders: [banned]}")
	rawapi.Eventually(t, "the banned name is refused", func() (bool, string) {
		got := a.Do(t, "POST", flunders+"?dryRun=All", flunder("banned"))
		return got.Code == http.StatusForbidden && strings.Contains(got.Body, "this name may not be used"), got.Body
	})
	if got := a.Do(t, "POST", group+"/namespaces/none/flunders", flunder("x")); got.Code != http.StatusNotFound || !strings.Contains(got.Body, `namespaces \"none\" not found`) {
		t.Errorf("in no namespace: %d %s", got.Code, got.Body)
	}
	const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
	a.Must(t, "POST", policies+"ies", `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {
		matchConstraints: {resourceRules: [{apiGroups: [wardle.example.com], apiVersions: ['*'], operations: [CREATE], resources: [flunders]}]},
		validations: [{expression: "object.metadata.name != 'judged'", message: judged}]}}`)
	a.Must(t, "POST", policies+"ybindings", "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, validationActions: [Deny]}}")
	rawapi.Eventually(t, "the policy holds", func() (bool, string) {
		got := a.Do(t, "POST", flunders+"?dryRun=All", flunder("judged"))
		return got.Code == http.StatusUnprocessableEntity && strings.Contains(got.Body, "judged"), got.Body
	})
}

// testAccess asks as others, through the proxy and past it.
func testAccess(t *testing.T, s *env.Server, p *sample, a *rawapi.API) {
	const cannot = `cannot list resource \"flunders\" in API group \"wardle.example.com\" in the namespace \"team\"`
	a.Must(t, "POST", "/api/v1/namespaces/team/serviceaccounts", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader}}")
	alice, reader := rawapi.New(t, s.Remote("alice")), p.direct(token(t, s, "team", "reader"))
	for who, client := range map[string]*rawapi.API{"alice, proxied": alice, "reader, directly": reader} {
		if got := client.Do(t, "GET", flunders, ""); got.Code != http.StatusForbidden || !strings.Contains(got.Body, cannot) {
			t.Errorf("%s: %d %s", who, got.Code, got.Body)
		}
	}
	if got := p.direct("").Do(t, "GET", flunders, ""); got.Code != http.StatusForbidden && got.Code != http.StatusUnauthorized {
		t.Errorf("nobody, directly: %d %s", got.Code, got.Body)
	}
	const rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/team/role"
	a.Must(t, "POST", rbac+"s", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r}, rules: [{apiGroups: [wardle.example.com], resources: [flunders], verbs: [list]}]}")
	a.Must(t, "POST", rbac+"bindings", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: r}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}, subjects: [{kind: User, name: alice}, {kind: ServiceAccount, name: reader}]}")
	for who, client := range map[string]*rawapi.API{"alice, proxied": alice, "reader, directly": reader} {
		rawapi.Eventually(t, who+" may list", func() (bool, string) { // denials are remembered for a while
			got := client.Do(t, "GET", flunders, "")
			return got.Code == http.StatusOK, got.Body
		})
	}
}

// testCertificates trusts the sample's certificate instead of none, then a wrong one.
func testCertificates(t *testing.T, p *sample, a *rawapi.API) {
	trust := func(bundle []byte) {
		t.Helper()
		patch := `{"spec":{"insecureSkipTLSVerify":null,"caBundle":"` + base64.StdEncoding.EncodeToString(bundle) + `"}}`
		a.Must(t, "PATCH", wardle, patch, "Content-Type", "application/merge-patch+json")
	}
	other := newCertificate(t)
	trust(other)
	available(t, a, "False FailedDiscoveryCheck")
	trust(p.authority)
	available(t, a, "True Passed")
	rawapi.Eventually(t, "flunders are served", func() (bool, string) { // the proxy hears of the condition a little later
		got := a.Do(t, "GET", flunders, "")
		return got.Code == http.StatusOK, got.Body
	})
}

// testNamespace deletes a namespace that holds a flunder.
func testNamespace(t *testing.T, a *rawapi.API) {
	a.Must(t, "POST", "/api/v1/namespaces", "{apiVersion: v1, kind: Namespace, metadata: {name: going}}")
	path := group + "/namespaces/going/flunders"
	rawapi.Eventually(t, "the sample knows the namespace", func() (bool, string) {
		got := a.Do(t, "POST", path, flunder("x"))
		return got.Code == http.StatusCreated, got.Body
	})
	a.Must(t, "DELETE", "/api/v1/namespaces/going", "")
	rawapi.Eventually(t, "the namespace is gone", func() (bool, string) {
		got := a.Do(t, "GET", "/api/v1/namespaces/going", "")
		return got.Code == http.StatusNotFound, got.Body
	})
	if got := a.Do(t, "GET", path+"/x", ""); got.Code != http.StatusNotFound {
		t.Errorf("the flunder: %d %s", got.Code, got.Body)
	}
}

// testOutage stops the sample and starts it again.
func testOutage(t *testing.T, p *sample, a *rawapi.API) {
	before, _, _ := discovered(t, a)
	p.stop()
	rawapi.Eventually(t, "requests are refused", func() (bool, string) {
		res, err := a.Send(t.Context(), "GET", flunders, "")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable, res.Status
	})
	available(t, a, "False FailedDiscoveryCheck")
	if groups, _, body := discovered(t, a); groups < before-1 {
		t.Errorf("%d groups of %d: %s", groups, before, body)
	}
	a.Must(t, "GET", "/apis/apps/v1", "")
	a.Must(t, "GET", "/api/v1/pods", "")
	p.start()
	available(t, a, "True Passed")
	rawapi.Eventually(t, "the flunder of before is back", func() (bool, string) {
		got := a.Do(t, "GET", flunders+"/my-first-flunder", "")
		return got.Code == http.StatusOK, got.Body
	})
}
