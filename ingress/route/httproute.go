package route

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// candidate is a rule of an HTTPRoute at a host, before the precedence of all is settled.
type candidate struct {
	host, path             string
	exact                  bool
	method, headers, query int
	match                  func(*http.Request) bool
	target                 *Target
}

// attach serves a route at the listeners of one parent, and answers its conditions there.
func (c *compiler) attach(g *Gateways, r *HTTPRoute, parent ObjectRef, listeners []*attachment) (conditions []metav1.Condition, out []*candidate) {
	rejected := condition("Accepted", false, "NoMatchingParent", "the gateway has no such listener")
	resolved := condition("ResolvedRefs", true, "ResolvedRefs", "")
	accepted := false
	targets, reason, message := c.targets(g, r)
	if reason != "" {
		resolved = condition("ResolvedRefs", false, reason, message)
	}
	if problem := unsupported(r); problem != "" {
		return []metav1.Condition{condition("Accepted", false, "UnsupportedValue", problem), resolved}, nil
	}
	for _, l := range listeners {
		if parent.SectionName != nil && *parent.SectionName != l.Name || parent.Port != nil && *parent.Port != l.Port || !l.valid {
			continue
		}
		if !l.allows(g, r.Namespace) {
			if !accepted {
				rejected = condition("Accepted", false, "NotAllowedByListeners", "no listener allows routes of this kind and namespace")
			}
			continue
		}
		hosts, ok := l.hosts(r.Spec.Hostnames)
		if !ok {
			if rejected.Reason == "NoMatchingParent" {
				rejected = condition("Accepted", false, "NoMatchingListenerHostname", "no listener has a hostname in common with the route")
			}
			continue
		}
		accepted = true
		l.result.Attached++
		secure := l.Protocol == protocolHTTPS
		for i := range r.Spec.Rules {
			out = append(out, candidates(hosts, secure, &r.Spec.Rules[i], targets[i])...)
		}
	}
	if accepted {
		return []metav1.Condition{condition("Accepted", true, "Accepted", ""), resolved}, out
	}
	return []metav1.Condition{rejected, resolved}, nil
}

// unsupported answers what of a route isn't served.
func unsupported(r *HTTPRoute) string {
	for i, rule := range r.Spec.Rules {
		for _, m := range rule.Matches {
			if m.Path != nil && m.Path.Type == "RegularExpression" {
				return fmt.Sprintf("spec.rules[%d]: paths by regular expression aren't served: use Exact or PathPrefix", i)
			}
			for _, n := range slices.Concat(m.Headers, m.QueryParams) {
				if n.Type == "RegularExpression" {
					return fmt.Sprintf("spec.rules[%d]: values by regular expression aren't served: use Exact", i)
				}
			}
		}
		filters := slices.Clone(rule.Filters)
		for _, b := range rule.BackendRefs {
			filters = append(filters, b.Filters...)
		}
		for _, f := range filters {
			switch f.Type {
			case "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite":
			default:
				return fmt.Sprintf("spec.rules[%d]: filters of type %s aren't served", i, f.Type)
			}
		}
	}
	return ""
}

// candidates are what a rule's matches make at the hosts.
func candidates(hosts []string, secure bool, rule *HTTPRule, target *Target) (out []*candidate) {
	matches := rule.Matches
	if len(matches) == 0 {
		matches = []HTTPMatch{{}}
	}
	for i := range matches {
		m := &matches[i]
		path, exact := "/", false
		if m.Path != nil {
			path, exact = deref(m.Path.Value, "/"), m.Path.Type == "Exact"
		}
		t := &Target{Route: target.Route, Options: target.Options, Backends: target.Backends, TLS: secure}
		if target.Filters != nil {
			filters := *target.Filters
			filters.Prefix, t.Filters = path, &filters
		}
		method := 0
		if m.Method != "" {
			method = 1
		}
		for _, host := range hosts {
			out = append(out, &candidate{host, path, exact, method, len(m.Headers), len(m.QueryParams), m.matcher(secure), t})
		}
	}
	return out
}

// matcher tells requests that come by the listener's protocol and have what is asked for.
func (m *HTTPMatch) matcher(secure bool) func(*http.Request) bool {
	return func(r *http.Request) bool {
		if (r.TLS != nil) != secure || m.Method != "" && r.Method != m.Method {
			return false
		}
		for _, h := range m.Headers {
			if strings.Join(r.Header.Values(h.Name), ",") != h.Value {
				return false
			}
		}
		if len(m.QueryParams) == 0 {
			return true
		}
		query := r.URL.Query()
		for _, q := range m.QueryParams {
			if !query.Has(q.Name) || query.Get(q.Name) != q.Value {
				return false
			}
		}
		return true
	}
}

// targets resolves the backends of a route's rules, and answers the last thing that is wrong with them.
func (c *compiler) targets(g *Gateways, r *HTTPRoute) (out []*Target, reason, message string) {
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		t := &Target{Route: "HTTPRoute " + r.Namespace + "/" + r.Name, Options: Options{BodyLimit: -1}, Filters: readFilters(rule.Filters)}
		for _, text := range []string{rule.Timeouts.Request, rule.Timeouts.BackendRequest} {
			if d, err := time.ParseDuration(text); err == nil && d > 0 && (t.Options.ResponseTimeout == 0 || d < t.Options.ResponseTimeout) {
				t.Options.ResponseTimeout = d
			}
		}
		for j, ref := range rule.BackendRefs {
			b, why, problem := c.gatewayBackend(g, r, ref)
			if why != "" {
				reason, message = why, fmt.Sprintf("spec.rules[%d].backendRefs[%d]: %s", i, j, problem)
			}
			t.Backends = append(t.Backends, Share{b, deref(ref.Weight, 1), readFilters(ref.Filters)})
		}
		out = append(out, t)
	}
	return out, reason, message
}

func (c *compiler) gatewayBackend(g *Gateways, r *HTTPRoute, ref ObjectRef) (b *Backend, reason, message string) {
	name := types.NamespacedName{Namespace: deref(ref.Namespace, r.Namespace), Name: ref.Name}
	invalid := &Backend{Protocol: HTTP, Invalid: true}
	switch {
	case deref(ref.Group, "") != "" || deref(ref.Kind, "Service") != "Service":
		return invalid, "InvalidKind", fmt.Sprintf("%s isn't served: name a Service", deref(ref.Kind, "Service"))
	case ref.Port == nil:
		return invalid, "BackendNotFound", "a Service needs a port"
	case !g.granted("HTTPRoute", r.Namespace, "Service", name):
		return invalid, "RefNotPermitted", fmt.Sprintf("no ReferenceGrant in namespace %q lets HTTPRoutes of %q use Service %q", name.Namespace, r.Namespace, name.Name)
	}
	key := backendKey{name, fmt.Sprint(*ref.Port), ""}
	if known := c.backends[key]; known != nil {
		return known, "", ""
	}
	b, reason, message = c.backend(name, networkingv1.ServiceBackendPort{Number: int32(*ref.Port)}, "") //nolint:gosec // the schema has its bounds
	if reason == "" {
		c.backends[key] = b
		return b, "", ""
	}
	return invalid, "BackendNotFound", message
}

func readFilters(list []HTTPFilter) *Filters {
	if len(list) == 0 {
		return nil
	}
	f := &Filters{}
	for _, one := range list {
		if one.RequestHeaderModifier != nil {
			f.Request = append(f.Request, one.RequestHeaderModifier)
		}
		if one.ResponseHeaderModifier != nil {
			f.Response = append(f.Response, one.ResponseHeaderModifier)
		}
		if one.RequestRedirect != nil {
			f.Redirect = one.RequestRedirect
		}
		if one.URLRewrite != nil {
			f.Rewrite = one.URLRewrite
		}
	}
	return f
}
