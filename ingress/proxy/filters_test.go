package proxy

import (
	"fmt"
	"net/http"
	"testing"

	"skiff/ingress/route"
)

// TestRouteFilters: what an HTTPRoute changes arrives, and a route without a valid backend answers 500.
func TestRouteFilters(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	world := &upstream{addresses: map[string][]string{"web": {backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.Header().Set("Server", "secret")
	})}}}
	p := serve(t, world, nil)
	str := func(s string) *string { return &s }
	port := 80
	g := &route.Gateways{HTTPPort: 80, Gateways: []*route.Gateway{{}}, Routes: []*route.HTTPRoute{{}}}
	gate, r := g.Gateways[0], g.Routes[0]
	gate.Name, gate.Namespace, r.Namespace = "gate", "default", "default"
	gate.Spec.Listeners = []route.GatewayListener{{Name: "http", Port: 80, Protocol: "HTTP"}}
	r.Spec.ParentRefs = []route.ObjectRef{{Name: "gate"}}
	at := func(path string) []route.HTTPMatch {
		m := route.HTTPMatch{}
		m.Path = &struct {
			Type  string  `json:"type"`
			Value *string `json:"value"`
		}{"PathPrefix", &path}
		return []route.HTTPMatch{m}
	}
	r.Spec.Rules = []route.HTTPRule{
		{
			Matches: at("/old"), BackendRefs: []route.ObjectRef{{
				Name: "web", Port: &port, Filters: []route.HTTPFilter{{Type: "RequestHeaderModifier", RequestHeaderModifier: &route.HeaderChange{Add: []route.NamedMatch{{Name: "X", Value: "2"}}}}},
			}},
			Filters: []route.HTTPFilter{
				{Type: "URLRewrite", URLRewrite: &route.Rewrite{Hostname: str("inner.test"), Path: &route.PathChange{Type: "ReplacePrefixMatch", ReplacePrefixMatch: str("/new")}}},
				{Type: "RequestHeaderModifier", RequestHeaderModifier: &route.HeaderChange{Set: []route.NamedMatch{{Name: "X", Value: "1"}}, Remove: []string{"Y"}}},
				{Type: "ResponseHeaderModifier", ResponseHeaderModifier: &route.HeaderChange{Remove: []string{"Server"}}},
			},
		},
		{Matches: at("/moved"), Filters: []route.HTTPFilter{{Type: "RequestRedirect", RequestRedirect: &route.Redirect{Scheme: str("https"), Hostname: str("new.test")}}}},
		{Matches: at("/none"), BackendRefs: []route.ObjectRef{{Name: "none", Port: &port}}},
		{Matches: at("/nothing")},
	}
	p.SetTable(route.CompileAll(nil, g, world, &route.Keypairs{}).Table)
	client := p.client(t)
	req := request(t, http.MethodGet, "http://a.test/old/x%2Fy?q", nil)
	req.Header.Set("Y", "1")
	resp, _ := do(t, client, req)
	got := <-seen
	if got.Host != "inner.test" || got.RequestURI != "/new/x%2Fy?q" || fmt.Sprint(got.Header["X"]) != "[1 2]" || got.Header.Get("Y") != "" || got.Header.Get("X-Forwarded-Host") != "a.test" {
		t.Errorf("the backend saw %s %s %v", got.Host, got.RequestURI, got.Header)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Server") != "" {
		t.Errorf("the client saw %s %v", resp.Status, resp.Header)
	}
	if resp, _ := get(t, client, "http://a.test/moved/x?q"); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "https://new.test/moved/x?q" {
		t.Errorf("redirect: %s %v", resp.Status, resp.Header)
	}
	for _, path := range []string{"/none", "/nothing"} {
		if resp, _ := get(t, client, "http://a.test"+path); resp.StatusCode != http.StatusInternalServerError {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}
