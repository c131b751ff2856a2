package golden

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"skiff/test/env"
)

// aggregated asks for all of discovery in one document.
const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// TestDiscovery compares what is served, and how, with the recording.
func TestDiscovery(t *testing.T) {
	c := newClient(env.Start(t, env.Options{}))
	get := func(t *testing.T, path string, header ...string) map[string]any {
		t.Helper()
		code, body, err := c.do(t.Context(), http.MethodGet, path, nil, header...)
		if err != nil || code != http.StatusOK {
			t.Fatalf("GET %s: %d, %v", path, code, err)
		}
		return body
	}
	t.Run("groups", func(t *testing.T) {
		for name, path := range map[string]string{"core": "/api", "groups": "/apis"} {
			var want map[string]any
			recorded(t, "api/discovery-"+name+".json.gz", &want)
			report(t, want, eventually(want, func() any { return withoutKept(get(t, path, "Accept", aggregated)) }))
		}
	})
	t.Run("resources", func(t *testing.T) {
		var want map[string]map[string]any
		recorded(t, "api/resources.json.gz", &want)
		for path, wanted := range want {
			got := get(t, "/"+path)
			for _, r := range []map[string]any{wanted, got} {
				dropHashes(path, r)
			}
			report(t, wanted, got)
		}
	})
	t.Run("paths", func(t *testing.T) {
		var want map[string]any
		recorded(t, "api/root-paths.json.gz", &want)
		compareSets(t, strs(want["paths"]), strs(get(t, "/")["paths"]), keptPath)
	})
	t.Run("version", func(t *testing.T) {
		var want map[string]any
		recorded(t, "api/version.json.gz", &want)
		got := get(t, "/version")
		for key, value := range want {
			switch key {
			case "gitVersion":
				if s, _ := got[key].(string); !strings.HasPrefix(s, value.(string)+"+skiff") {
					t.Errorf("gitVersion is %q, want %v+skiff...", s, value)
				}
			case "buildDate", "gitCommit", "gitTreeState", "goVersion": // of this build
				if _, ok := got[key].(string); !ok {
					t.Errorf("%s is missing", key)
				}
			default:
				if got[key] != value {
					t.Errorf("%s is %v, want %v", key, got[key], value)
				}
			}
		}
	})
}

// eventually asks until the answer is as wanted, for a while: the aggregator
// orders the groups when it has read its own objects.
func eventually(want any, ask func() any) (got any) {
	timeout := time.After(10 * time.Second)
	for {
		if got = ask(); text(got) == text(want) {
			return got
		}
		select {
		case <-timeout:
			return got
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keptGroups are served beside those of kube-apiserver, with the reason.
var keptGroups = map[string]string{
	"metrics.k8s.io": "what metrics-server serves, with nothing installed",
}

// withoutKept drops the groups that are more than was recorded, on purpose.
func withoutKept(groups map[string]any) map[string]any {
	groups["items"] = slices.DeleteFunc(list(groups["items"]), func(g any) bool {
		name, _ := object(object(g)["metadata"])["name"].(string)
		return keptGroups[name] != ""
	})
	return groups
}

// keptHashes are resources that are stored in another form than by v1.37.2.
// Kubernetes keeps a form that the release before can read for one release
// more; no release of skiff came before.
var keptHashes = map[string][]string{
	"apis/certificates.k8s.io/v1":     {"clustertrustbundles", "podcertificaterequests"},
	"apis/resource.k8s.io/v1":         {"devicetaintrules"},
	"apis/storagemigration.k8s.io/v1": {"storageversionmigrations"},
}

func dropHashes(path string, l map[string]any) {
	for _, r := range list(l["resources"]) {
		if name, _ := object(r)["name"].(string); slices.Contains(keptHashes[path], name) {
			delete(object(r), "storageVersionHash")
		}
	}
}

// keptPaths are the paths that differ on purpose, with the reason. One that
// starts with a star stands for a check of /healthz, /livez and /readyz.
var keptPaths = map[string]string{
	"*loopback-serving-certificate":                      "the loopback connection is in-process, without a certificate",
	"*poststarthook/aggregator-reload-proxy-client-cert": "the proxy's certificate is a file that may be renewed",
	"*poststarthook/peer-endpoint-reconciler-controller": "servers know each other from the store",
	"/apis/metrics.k8s.io":                               keptGroups["metrics.k8s.io"],
	"/apis/metrics.k8s.io/v1beta1":                       keptGroups["metrics.k8s.io"],
}

func keptPath(path string) bool {
	for _, prefix := range []string{"/healthz/", "/livez/", "/readyz/"} {
		if check, ok := strings.CutPrefix(path, prefix); ok {
			path = "*" + check
		}
	}
	return keptPaths[path] != ""
}

// compareSets reports what only one side has, unless it is kept on purpose.
func compareSets(t *testing.T, want, got []string, kept func(string) bool) {
	t.Helper()
	for _, s := range want {
		if !slices.Contains(got, s) && !kept(s) {
			t.Errorf("%s is missing", s)
		}
	}
	for _, s := range got {
		if !slices.Contains(want, s) && !kept(s) {
			t.Errorf("%s is more than was recorded", s)
		}
	}
}

func strs(v any) (out []string) {
	for _, s := range list(v) {
		out = append(out, s.(string))
	}
	return out
}

// report lists the differences of two documents.
func report(t *testing.T, want, got any) {
	t.Helper()
	for _, line := range diff("", plain(want), plain(got)) {
		t.Error(line)
	}
}
