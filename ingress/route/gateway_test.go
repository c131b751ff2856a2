package route

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	o := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// gate has a listener for HTTP, one for a host, one with TLS, and one at a port that isn't served.
const gate = `
metadata: {name: gate, namespace: infra}
spec:
  gatewayClassName: skiff
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: host, port: 80, protocol: HTTP, hostname: "*.deep.test", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}
  - {name: https, port: 443, protocol: HTTPS, hostname: tls.test, tls: {certificateRefs: [{name: cert}]}, allowedRoutes: {namespaces: {from: All}}}
  - {name: odd, port: 81, protocol: HTTP}
  - {name: tcp, port: 80, protocol: TCP, hostname: x.test}
`

func gateway(t *testing.T, routes ...string) (*Gateways, *world) {
	t.Helper()
	g := &Gateways{HTTPPort: 80, HTTPSPort: 443, Gateways: []*Gateway{parse[Gateway](t, gate)}, Labels: func(n string) labels.Set { return labels.Set{"team": n} }}
	for i, text := range routes {
		r := parse[HTTPRoute](t, text)
		r.CreationTimestamp = metav1.NewTime(time.Unix(int64(i), 0))
		g.Routes = append(g.Routes, r)
	}
	w := newWorld("one", "two", "three", "four")
	w.secrets["cert"] = secret(t, "cert", "1", "tls.test")
	return g, w
}

// asks answers the Service for a request.
func asks(t *testing.T, table *Table, r *http.Request) string {
	t.Helper()
	p, _ := ParsePath(r.URL.EscapedPath())
	target, ok := table.Find(ParseHost(r.Host), p, r)
	if !ok {
		return "-"
	}
	share, ok := target.Choose()
	if !ok || share.Invalid {
		return "500"
	}
	name, _, _ := strings.Cut(share.Service, ":")
	return name[strings.IndexByte(name, '/')+1:]
}

func TestHTTPRoutePrecedence(t *testing.T) {
	g, w := gateway(t, `
metadata: {name: r, namespace: a}
spec:
  parentRefs: [{name: gate, namespace: infra, sectionName: http}]
  hostnames: [a.test, "*.wild.test"]
  rules:
  - {backendRefs: [{name: one, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: two, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /x}, headers: [{name: V, value: "2"}]}, {path: {type: Exact, value: /x/y}}], backendRefs: [{name: three, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /x}, method: POST}, {queryParams: [{name: q, value: "1"}]}], backendRefs: [{name: four, port: 80}]}
`)
	compiled := CompileAll(nil, g, w, &Keypairs{})
	for _, c := range []struct{ method, url, header, want string }{
		{"GET", "http://a.test/", "", "one"},
		{"GET", "http://a.test/?q=1", "", "four"},
		{"GET", "http://a.test/?q=2", "", "one"},
		{"GET", "http://a.test/x", "", "two"},
		{"GET", "http://a.test/xx", "", "one"},
		{"GET", "http://a.test/x/z", "2", "three"},
		{"GET", "http://a.test/x/y", "", "three"},
		{"POST", "http://a.test/x/z", "2", "four"}, // a method counts before headers
		{"GET", "http://b.deep.wild.test/", "", "one"},
		{"GET", "http://wild.test/", "", "-"},
		{"GET", "https://a.test/", "", "-"}, // that listener has another host
		{"GET", "http://b.test/", "", "-"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Set("V", c.header); strings.HasPrefix(c.url, "https") {
			r.TLS = secured()
		}
		if got := asks(t, compiled.Table, r); got != c.want {
			t.Errorf("%s %s %s: %s, want %s", c.method, c.url, c.header, got, c.want)
		}
	}
	if compiled.Table.Certificate("tls.test") == nil {
		t.Error("no certificate for the listener")
	}
}

// TestGatewayConditions: what became of listeners, and of routes at them.
func TestGatewayConditions(t *testing.T) {
	route := func(name, namespace, parent, rest string) string {
		return "metadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {parentRefs: [{name: gate, namespace: infra" + parent + "}]" + rest + "}"
	}
	good := ", rules: [{backendRefs: [{name: one, port: 80}]}]"
	g, w := gateway(t,
		route("good", "a", "", good), route("nosuch", "a", ", sectionName: none", good), route("broken", "a", ", sectionName: odd", good),
		route("foreign", "b", ", sectionName: host", good), route("hosts", "a", ", sectionName: host", ", hostnames: [other.test]"+good),
		route("within", "a", ", sectionName: host", ", hostnames: [x.y.deep.test]"+good), route("regex", "a", "", ", rules: [{matches: [{path: {type: RegularExpression, value: .}}]}]"),
		route("missing", "a", "", ", rules: [{backendRefs: [{name: none, port: 80}]}]"), route("across", "a", "", ", rules: [{backendRefs: [{name: one, namespace: b, port: 80}]}]"),
		route("kind", "a", "", ", rules: [{backendRefs: [{kind: Bucket, group: x, name: one}]}]"),
		"metadata: {name: elsewhere, namespace: a}\nspec: {parentRefs: [{name: other}]}",
	)
	compiled := CompileAll(nil, g, w, &Keypairs{})
	got := map[string]string{}
	for _, r := range compiled.Routes {
		for _, c := range r.Conditions {
			got[r.Name] += c.Type + "=" + string(c.Status) + " " + c.Reason + " "
		}
	}
	yes, resolved := "Accepted=True Accepted ", "ResolvedRefs=True ResolvedRefs "
	for name, want := range map[string]string{
		"good": yes + resolved, "nosuch": "Accepted=False NoMatchingParent " + resolved, "broken": "Accepted=False NoMatchingParent " + resolved,
		"foreign": "Accepted=False NotAllowedByListeners " + resolved, "hosts": "Accepted=False NoMatchingListenerHostname " + resolved, "within": yes + resolved,
		"regex": "Accepted=False UnsupportedValue " + resolved, "missing": yes + "ResolvedRefs=False BackendNotFound ", "across": yes + "ResolvedRefs=False RefNotPermitted ",
		"kind": yes + "ResolvedRefs=False InvalidKind ", "elsewhere": "",
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	listeners := map[string]string{}
	for _, l := range compiled.Gateways[0].Listeners {
		for _, c := range l.Conditions {
			if c.Type == "Accepted" || c.Type == "Programmed" {
				listeners[l.Name] += string(c.Status) + " " + c.Reason + " "
			}
		}
	}
	for name, want := range map[string]string{
		"http": "True Accepted True Programmed ", "https": "True Accepted True Programmed ", "odd": "False PortUnavailable False Invalid ", "tcp": "False UnsupportedProtocol False Invalid ",
	} {
		if listeners[name] != want {
			t.Errorf("listener %s: %s, want %s", name, listeners[name], want)
		}
	}
	if n := compiled.Gateways[0].Listeners[0].Attached; n != 4 {
		t.Errorf("%d routes are attached to the first", n)
	}
	// A grant makes the reference good.
	g.Grants = append(g.Grants, parse[ReferenceGrant](t, `
metadata: {namespace: b}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}], to: [{group: "", kind: Service}]}
`))
	for _, r := range CompileAll(nil, g, w, &Keypairs{}).Routes {
		if r.Name == "across" && r.Conditions[1].Status != metav1.ConditionTrue {
			t.Errorf("with a grant: %+v", r.Conditions)
		}
	}
	w.secrets["cert"] = &corev1.Secret{}
	if c := CompileAll(nil, g, w, &Keypairs{}).Gateways[0].Listeners[2].Conditions; c[0].Status != metav1.ConditionTrue || c[3].Reason != "InvalidCertificateRef" {
		t.Errorf("with a bad certificate: %+v", c)
	}
}

func TestWeights(t *testing.T) {
	target := &Target{Backends: []Share{{&Backend{Service: "a"}, 9, nil}, {&Backend{Service: "b"}, 1, nil}, {&Backend{Service: "c"}, 0, nil}}}
	got := map[string]int{}
	for range 1000 {
		s, _ := target.Choose()
		got[s.Service]++
	}
	if got["a"] != 900 || got["b"] != 100 || got["c"] != 0 {
		t.Errorf("%v", got)
	}
	if _, ok := (&Target{Backends: []Share{{&Backend{}, 0, nil}}}).Choose(); ok {
		t.Error("a backend without weight was chosen")
	}
}

func TestFilters(t *testing.T) {
	str := func(s string) *string { return &s }
	num := func(n int) *int { return &n }
	prefix := func(to string) *PathChange { return &PathChange{Type: "ReplacePrefixMatch", ReplacePrefixMatch: &to} }
	for _, c := range []struct{ prefix, to, path, want string }{ // the table in the API's documentation of ReplacePrefixMatch
		{"/foo", "/xyz", "/foo/bar", "/xyz/bar"},
		{"/foo", "/xyz/", "/foo/bar", "/xyz/bar"},
		{"/foo/", "/xyz", "/foo/bar", "/xyz/bar"},
		{"/foo/", "/xyz/", "/foo/bar", "/xyz/bar"},
		{"/foo", "/xyz", "/foo", "/xyz"},
		{"/foo", "/xyz", "/foo/", "/xyz/"},
		{"/foo", "", "/foo/bar", "/bar"},
		{"/foo", "", "/foo/", "/"},
		{"/foo", "", "/foo", "/"},
		{"/foo", "/", "/foo/", "/"},
		{"/foo", "/", "/foo", "/"},
		{"/", "/x", "/a%2Fb", "/x/a%2Fb"},
		{"/foo", "/x", "/f%6Fo/a", "/x/a"},
	} {
		f := &Filters{Prefix: c.prefix, Rewrite: &Rewrite{Path: prefix(c.to)}}
		if got := f.Path(c.path); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	for _, c := range []struct {
		redirect Redirect
		want     string
	}{
		{Redirect{}, "302 http://a.test:8080/x?q"},
		{Redirect{Scheme: str("https")}, "302 https://a.test/x?q"},
		{Redirect{Scheme: str("https"), Port: num(8443), StatusCode: num(301)}, "301 https://a.test:8443/x?q"},
		{Redirect{Hostname: str("b.test"), Port: num(80)}, "302 http://b.test/x?q"},
		{Redirect{Path: &PathChange{Type: "ReplaceFullPath", ReplaceFullPath: str("/y z")}}, "302 http://a.test:8080/y%20z?q"},
	} {
		location, status := (&Filters{Prefix: "/", Redirect: &c.redirect}).Location(false, "a.test", "8080", "/x", "q")
		if got := strings.Join([]string{http.StatusText(status), location}, " "); got != strings.Replace(strings.Replace(c.want, "302", "Found", 1), "301", "Moved Permanently", 1) {
			t.Errorf("%+v: %s", c.redirect, got)
		}
	}
	h := http.Header{"A": {"1"}, "B": {"1"}, "C": {"1"}}
	(&HeaderChange{Set: []NamedMatch{{Name: "a", Value: "2"}}, Add: []NamedMatch{{Name: "b", Value: "2"}}, Remove: []string{"c"}}).Apply(h)
	if h.Get("A") != "2" || len(h["B"]) != 2 || len(h["C"]) != 0 {
		t.Errorf("%v", h)
	}
}
