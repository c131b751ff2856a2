package route

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is objects by name.
type world struct {
	services map[string]*corev1.Service
	slices   map[string][]*discoveryv1.EndpointSlice
	secrets  map[string]*corev1.Secret
}

func (w *world) Service(n types.NamespacedName) *corev1.Service { return w.services[n.Name] }
func (w *world) Slices(n types.NamespacedName) []*discoveryv1.EndpointSlice {
	return w.slices[n.Name]
}
func (w *world) Secret(n types.NamespacedName) *corev1.Secret { return w.secrets[n.Name] }

func ptr[T any](v T) *T { return &v }

// newWorld has a Service with a ready endpoint for each name.
func newWorld(names ...string) *world {
	w := &world{services: map[string]*corev1.Service{}, slices: map[string][]*discoveryv1.EndpointSlice{}, secrets: map[string]*corev1.Secret{}}
	for i, name := range names {
		w.services[name] = &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
		w.slices[name] = []*discoveryv1.EndpointSlice{{
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080)}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0." + string(rune('1'+i))}}},
		}}
	}
	return w
}

func backend(name string) networkingv1.IngressBackend {
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 80}}}
}

// line is a path of an Ingress, whose type is written E, P or I.
type line struct{ host, kind, path, service string }

func ingress(name string, age int, lines ...line) *networkingv1.Ingress {
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0)),
	}}
	kinds := map[string]networkingv1.PathType{"E": networkingv1.PathTypeExact, "P": networkingv1.PathTypePrefix, "I": networkingv1.PathTypeImplementationSpecific}
	for _, l := range lines {
		in.Spec.Rules = append(in.Spec.Rules, networkingv1.IngressRule{Host: l.host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: l.path, PathType: ptr(kinds[l.kind]), Backend: backend(l.service)}}},
		}})
	}
	return in
}

// ask answers the Service that a request goes to, "" if none.
func ask(t *testing.T, table *Table, host, path string) string {
	t.Helper()
	p, ok := ParsePath(path)
	if !ok {
		t.Fatalf("%q is no path", path)
	}
	target, ok := table.Find(ParseHost(host), p, &http.Request{})
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(target.Backends[0].Service, "default/"), ":")
	return name
}

// TestDocumentedPaths is the table of examples in Kubernetes' documentation of Ingress.
func TestDocumentedPaths(t *testing.T) {
	for _, c := range []struct {
		kind, paths, request string
		want                 string // the path that matches, "-" if none
	}{
		{"P", "/", "/foo", "/"},
		{"E", "/foo", "/foo", "/foo"},
		{"E", "/foo", "/bar", "-"},
		{"E", "/foo", "/foo/", "-"},
		{"E", "/foo/", "/foo", "-"},
		{"P", "/foo", "/foo", "/foo"},
		{"P", "/foo", "/foo/", "/foo"},
		{"P", "/foo/", "/foo", "/foo/"},
		{"P", "/foo/", "/foo/", "/foo/"},
		{"P", "/aaa/bb", "/aaa/bbb", "-"},
		{"P", "/aaa/bbb", "/aaa/bbb", "/aaa/bbb"},
		{"P", "/aaa/bbb/", "/aaa/bbb", "/aaa/bbb/"},
		{"P", "/aaa/bbb", "/aaa/bbb/", "/aaa/bbb"},
		{"P", "/aaa/bbb", "/aaa/bbb/ccc", "/aaa/bbb"},
		{"P", "/aaa/bbb", "/aaa/bbbxyz", "-"},
		{"P", "/ /aaa", "/aaa/ccc", "/aaa"},
		{"P", "/ /aaa /aaa/bbb", "/aaa/bbb", "/aaa/bbb"},
		{"P", "/ /aaa /aaa/bbb", "/ccc", "/"},
		{"P", "/aaa", "/ccc", "-"},
		// The ones below are not in the documentation.
		{"P", "/foo", "/FOO", "-"},
		{"P", "/foo", "/foo%2Fbar", "-"},
		{"P", "/foo", "/f%6Fo", "/foo"},
		{"P", "/secret /", "/open/../secret/x", "/secret"},
		{"P", "/secret /", "/open/%2e%2E/secret", "/secret"},
		{"E", "/foo/", "/foo/.", "/foo/"},
		{"P", "/foo", "/x/../../foo", "/foo"},
		{"I", "/foo", "/foo/bar", "/foo"},
		{"I", "/foo/*", "/foo/bar", "/foo/*"},
		{"I", "", "/anything", ""},
	} {
		var lines []line
		services := map[string]string{}
		for i, path := range strings.Split(c.paths, " ") {
			name := string(rune('a' + i))
			services[name] = path
			lines = append(lines, line{"", c.kind, path, name})
		}
		compiled := Compile([]*networkingv1.Ingress{ingress("in", 0, lines...)}, newWorld("a", "b", "c"), &Keypairs{})
		got, ok := services[ask(t, compiled.Table, "any.test", c.request)]
		if !ok {
			got = "-"
		}
		if got != c.want || len(compiled.Problems) > 0 {
			t.Errorf("%s %s asked for %s: got %s, want %s (%v)", c.kind, c.paths, c.request, got, c.want, compiled.Problems)
		}
	}
}

func TestExactBeforePrefix(t *testing.T) {
	in := ingress("in", 0, line{"", "P", "/foo", "prefix"}, line{"", "E", "/foo", "exact"}, line{"", "P", "/foo/bar/", "longer"}, line{"", "E", "/foo/bar/", "exactlonger"})
	table := Compile([]*networkingv1.Ingress{in}, newWorld(), &Keypairs{}).Table
	for path, want := range map[string]string{"/foo": "exact", "/foo/": "prefix", "/foo/b": "prefix", "/foo/bar": "longer", "/foo/bar/": "exactlonger", "/foo/bar/x": "longer", "/": ""} {
		if got := ask(t, table, "", path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	older := ingress("older", 9, line{"*.foo.com", "P", "/", "wild"}, line{"bar.foo.com", "P", "/only", "bar"}, line{"", "P", "/every", "every"})
	newer := ingress("newer", 1, line{"Bar.foo.com", "P", "/only", "late"}, line{"baz.foo.com", "P", "/", "baz"})
	newer.Spec.DefaultBackend = ptr(backend("rest"))
	compiled := Compile([]*networkingv1.Ingress{newer, older}, newWorld("wild", "bar", "every", "late", "baz", "rest"), &Keypairs{})
	for _, c := range []struct{ host, path, want string }{
		{"bar.foo.com", "/only", "bar"},
		{"BAR.foo.com.:8080", "/only/x", "bar"},
		{"bar.foo.com", "/else", "wild"},
		{"baz.foo.com", "/", "baz"},
		{"x.foo.com", "/", "wild"},
		{"x.y.foo.com", "/", "rest"}, // a wildcard is one label
		{"foo.com", "/", "rest"},
		{".foo.com", "/", "rest"},
		{"x.y.foo.com", "/every", "every"},
		{"10.0.0.1:80", "/every/x", "every"},
		{"[fd00::1]:80", "/every", "every"},
		{"", "/", "rest"},
	} {
		if got := ask(t, compiled.Table, c.host, c.path); got != c.want {
			t.Errorf("%s%s: got %q, want %q", c.host, c.path, got, c.want)
		}
	}
	if len(compiled.Problems) != 1 || compiled.Problems[0].Reason != ReasonConflict || compiled.Problems[0].Object != newer || !strings.Contains(compiled.Problems[0].Message, "default/older") {
		t.Errorf("problems: %+v", compiled.Problems)
	}
}

func TestBackends(t *testing.T) {
	w := newWorld("web", "outside")
	w.services["outside"].Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}
	w.services["web"].Spec.Ports = append(w.services["web"].Spec.Ports, corev1.ServicePort{Name: "grpc", Port: 90, AppProtocol: ptr("kubernetes.io/h2c")})
	w.slices["web"] = []*discoveryv1.EndpointSlice{
		{
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080)}, {Name: ptr("grpc"), Port: ptr[int32](9090)}, {Name: ptr("all")}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.0.0.2"}},
				{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}},
				{Addresses: []string{"10.0.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)}},
			},
		},
		{
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](80)}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}, {Addresses: []string{"10.0.0.9"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false)}}},
		},
	}
	named := func(service, port string, number int32) networkingv1.IngressBackend {
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Name: port, Number: number}}}
	}
	for _, c := range []struct {
		name      string
		backend   networkingv1.IngressBackend
		endpoints string
		protocol  Protocol
		reason    string
	}{
		{"by number", named("web", "", 80), "10.0.0.1:80 10.0.0.1:8080 10.0.0.2:8080", HTTP, ""},
		{"by name", named("web", "grpc", 0), "10.0.0.1:9090 10.0.0.2:9090", H2C, ""},
		{"no such port", named("web", "x", 0), "", HTTP, ReasonNoPort},
		{"no such number", named("web", "", 8080), "", HTTP, ReasonNoPort},
		{"no such Service", named("gone", "", 80), "", HTTP, ReasonNoService},
		{"another's name", named("outside", "", 80), "", HTTP, ReasonService},
		{"a resource", networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "b"}}, "", HTTP, ReasonResource},
	} {
		in := ingress("in", 0)
		in.Spec.DefaultBackend = &c.backend
		compiled := Compile([]*networkingv1.Ingress{in}, w, &Keypairs{})
		target, ok := compiled.Table.Find("", Path{"/", "/"}, nil)
		if !ok {
			t.Fatalf("%s: not routed", c.name)
		}
		if got := strings.Join(target.Backends[0].Endpoints, " "); got != c.endpoints || target.Backends[0].Protocol != c.protocol {
			t.Errorf("%s: %s by %s", c.name, got, target.Backends[0].Protocol)
		}
		reason := ""
		for _, p := range compiled.Problems {
			reason = p.Reason
		}
		if reason != c.reason {
			t.Errorf("%s: problems %+v", c.name, compiled.Problems)
		}
	}
	// Those that end still serve when no other is left.
	for i := range w.slices["web"][0].Endpoints[:2] {
		w.slices["web"][0].Endpoints[i].Conditions.Ready = ptr(false)
	}
	w.slices["web"] = w.slices["web"][:1]
	if got := endpoints(w.services["web"], &w.services["web"].Spec.Ports[0], w.slices["web"]); strings.Join(got, " ") != "10.0.0.3:8080" {
		t.Errorf("ending: %v", got)
	}
}

func TestOneFamilyCounts(t *testing.T) {
	w := newWorld("web")
	w.services["web"].Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	six := w.slices["web"][0].DeepCopy()
	six.AddressType, six.Endpoints[0].Addresses = discoveryv1.AddressTypeIPv6, []string{"fd00::1"}
	got := endpoints(w.services["web"], &w.services["web"].Spec.Ports[0], append(w.slices["web"], six))
	if strings.Join(got, " ") != "[fd00::1]:8080" {
		t.Errorf("%v", got)
	}
}

func TestAnnotations(t *testing.T) {
	s, problems := readAnnotations(map[string]string{
		AnnotationRedirect: "true", AnnotationBodyLimit: "8Mi", AnnotationResponseTimeout: "90s", AnnotationProtocol: "HTTPS", "other/x": "y",
	})
	if len(problems) > 0 || !s.Redirect || s.BodyLimit != 8<<20 || s.ResponseTimeout != 90*time.Second || s.protocol != HTTPS {
		t.Errorf("%+v %v", s, problems)
	}
	s, problems = readAnnotations(map[string]string{
		AnnotationRedirect: "maybe", AnnotationBodyLimit: "-1", AnnotationResponseTimeout: "0", AnnotationProtocol: "spdy", AnnotationPrefix + "x": "",
	})
	if len(problems) != 5 || s != (settings{Options: Options{BodyLimit: -1}}) {
		t.Errorf("%+v %q", s, problems)
	}
}

// TestUses: a table changes with what it was made from, though that doesn't exist yet.
func TestUses(t *testing.T) {
	in := ingress("in", 0, line{"a.test", "P", "/", "later"})
	in.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"a.test"}, SecretName: "cert"}}
	compiled := Compile([]*networkingv1.Ingress{in}, newWorld(), &Keypairs{})
	for _, r := range []Reference{{"Service", types.NamespacedName{Namespace: "default", Name: "later"}}, {"Secret", types.NamespacedName{Namespace: "default", Name: "cert"}}} {
		if !compiled.Uses[r] {
			t.Errorf("%v isn't used: %v", r, compiled.Uses)
		}
	}
	if len(compiled.Problems) != 2 || compiled.Table.Empty() || !Compile(nil, nil, &Keypairs{}).Table.Empty() {
		t.Errorf("%+v", compiled)
	}
	for _, p := range compiled.Problems {
		if strings.Contains(p.Message, "\n") {
			t.Errorf("more than a line: %q", p.Message)
		}
	}
}
