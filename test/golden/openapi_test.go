package golden

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"skiff/test/env"
)

// keptV2 are parts of the document of version 2 that differ on purpose.
var keptV2 = []struct{ part, name, reason string }{
	{"definitions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", versions},
	{"definitions", "io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "of the windows of metrics.k8s.io"},
	{"definitions", "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", versions},
	{"paths", "/.well-known/openid-configuration/", "a plain handler, as the other paths without a resource"},
	{"paths", "/openid/v1/jwks/", "a plain handler, as the other paths without a resource"},
}

// moreV2 are the beginnings of what is more than was recorded: see keptGroups.
var moreV2 = map[string]string{"definitions": "io.k8s.metrics.", "paths": "/apis/metrics.k8s.io/"}

// keptV3 are the documents of version 3 that are, or are not, served on purpose.
var keptV3 = map[string]string{
	".well-known/openid-configuration": "a plain handler, as the other paths without a resource",
	"openid/v1/jwks":                   "a plain handler, as the other paths without a resource",
	"apis/metrics.k8s.io":              keptGroups["metrics.k8s.io"],
	"apis/metrics.k8s.io/v1beta1":      keptGroups["metrics.k8s.io"],
}

const versions = "the list of kinds names versions that are not served"

// TestOpenAPI compares the schemas and operations of all built-in kinds with
// the recording.
func TestOpenAPI(t *testing.T) {
	c := newClient(env.Start(t, env.Options{}))
	get := func(t *testing.T, path string) map[string]any {
		t.Helper()
		code, body, err := c.do(t.Context(), http.MethodGet, path, nil)
		if err != nil || code != http.StatusOK {
			t.Fatalf("GET %s: %d, %v", path, code, err)
		}
		return body
	}
	t.Run("v2", func(t *testing.T) {
		var want map[string]any
		recorded(t, "api/openapi-v2.json.gz", &want)
		got := get(t, "/openapi/v2")
		for _, k := range keptV2 {
			delete(object(want[k.part]), k.name)
			delete(object(got[k.part]), k.name)
		}
		for part, prefix := range moreV2 {
			maps.DeleteFunc(object(got[part]), func(name string, _ any) bool { return strings.HasPrefix(name, prefix) })
		}
		report(t, want, got)
	})
	t.Run("v3", func(t *testing.T) {
		var want map[string]any
		recorded(t, "api/openapi-v3.json.gz", &want)
		served := object(get(t, "/openapi/v3")["paths"])
		compareSets(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(served)),
			func(s string) bool { return keptV3[s] != "" })
		for path := range served {
			if want[path] != nil {
				report(t, want[path], get(t, "/openapi/v3/"+path))
			}
		}
	})
}
