package golden

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"skiff/test/env"
)

// bootstrapPaths are where the recorded objects are listed.
var bootstrapPaths = map[string]string{
	"apiservices":                 "/apis/apiregistration.k8s.io/v1/apiservices",
	"clusterrolebindings":         "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
	"clusterroles":                "/apis/rbac.authorization.k8s.io/v1/clusterroles",
	"configmaps":                  "/api/v1/configmaps",
	"flowschemas":                 "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
	"leases":                      "/apis/coordination.k8s.io/v1/leases",
	"namespaces":                  "/api/v1/namespaces",
	"priorityclasses":             "/apis/scheduling.k8s.io/v1/priorityclasses",
	"prioritylevelconfigurations": "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
	"rolebindings":                "/apis/rbac.authorization.k8s.io/v1/rolebindings",
	"roles":                       "/apis/rbac.authorization.k8s.io/v1/roles",
	"services":                    "/api/v1/services",
}

// keptObjects differ on purpose, with the reason; the key is kind, namespace and name.
var keptObjects = map[string]string{
	"clusterroles//system:aggregated-metrics-reader":            "metrics-server's, for metrics.k8s.io, which is served with nothing installed",
	"configmaps/kube-system/extension-apiserver-authentication": "recorded of a server without client certificates",
}

// gathered are the roles whose rules a controller gathers from others.
var gathered = []string{"admin", "edit", "view"}

// TestBootstrapObjects compares what a fresh server has made with what
// kube-apiserver made.
func TestBootstrapObjects(t *testing.T) {
	c := newClient(env.Start(t, env.Options{}))
	var want map[string]any
	recorded(t, "api/bootstrap-objects.json.gz", &want)
	for kind := range want {
		if bootstrapPaths[kind] == "" {
			t.Errorf("nothing is known of %s", kind)
		}
	}
	for kind, path := range bootstrapPaths {
		t.Run(kind, func(t *testing.T) {
			wanted := byName(kind, want[kind])
			if len(wanted) == 0 {
				t.Fatal("nothing is recorded")
			}
			var have map[string]any
			eventually(wanted, func() any {
				code, body, err := c.do(t.Context(), http.MethodGet, path, nil)
				if err != nil || code != http.StatusOK {
					t.Fatalf("GET %s: %d, %v", path, code, err)
				}
				have = byName(kind, body["items"])
				return have
			})
			for name := range wanted {
				if have[name] == nil {
					t.Errorf("%s is missing", name)
				} else if text(have[name]) != text(wanted[name]) {
					t.Errorf("%s is\n%s\nwant\n%s", name, text(have[name]), text(wanted[name]))
				}
			}
			for name := range have {
				if wanted[name] == nil {
					t.Errorf("%s is more than was recorded", name)
				}
			}
		})
	}
}

// byName arranges the objects of a list, without what differs between any two
// servers.
func byName(kind string, items any) map[string]any {
	out := map[string]any{}
	for _, item := range list(items) {
		o := object(item)
		m := object(o["metadata"])
		name, _ := m["name"].(string)
		namespace, _ := m["namespace"].(string)
		key := kind + "/" + namespace + "/" + name
		if keptObjects[key] != "" {
			continue
		}
		for _, field := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation"} {
			delete(m, field)
		}
		for _, condition := range list(object(o["status"])["conditions"]) {
			delete(object(condition), "lastTransitionTime")
		}
		switch kind {
		case "clusterroles":
			if slices.Contains(gathered, name) {
				delete(o, "rules")
			}
		case "configmaps":
			delete(object(o["data"]), "since")
		case "leases": // of this host, at this time
			key = kind + "/" + namespace + "/apiserver"
			forgetHost(m, object(o["spec"]), name)
		case "services":
			for _, port := range list(object(o["spec"])["ports"]) {
				delete(object(port), "targetPort")
			}
		}
		out[key] = o
	}
	return out
}

// forgetHost drops from a lease what names the host, and marks what should not.
func forgetHost(m, spec map[string]any, name string) {
	holder, _ := spec["holderIdentity"].(string)
	if strings.HasPrefix(name, "apiserver-") && strings.HasPrefix(holder, name+"_") {
		delete(spec, "holderIdentity")
		delete(m, "name")
	}
	delete(spec, "renewTime")
	if labels := object(m["labels"]); labels["kubernetes.io/hostname"] != nil {
		labels["kubernetes.io/hostname"] = "host"
	}
	if annotations := object(m["annotations"]); annotations["kubernetes.io/peer-advertise-address"] != nil {
		annotations["kubernetes.io/peer-advertise-address"] = "address"
	}
}
