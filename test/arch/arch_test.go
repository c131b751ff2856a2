// Package arch keeps the import graph in the shape ARCHITECTURE.md draws.
package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// A rule says what the packages matching From may not import, and why.
// Patterns are path.Match globs on module-relative paths; a trailing /...
// matches the whole subtree. Imports outside the module keep their full path.
type rule struct {
	from, deny string
	except     []string // importers this rule does not bind
	why        string
}

// groups are the packages of the API groups; none knows another.
var groups = []string{
	"admissionregistration", "apps", "authentication", "authorization", "autoscaling", "batch", "certificates", "coordination", "core", "discovery", "events",
	"flowcontrol", "metrics", "networking", "node", "policy", "rbac", "resourceapi", "scheduling", "storage", "storagemigration",
}

// The order of the layers: cmd > {apis/server, controllers, scheduler, kubelet and its siblings} > apis/resource > config, internal.
var rules = append([]rule{
	{"...", "k8s.io/kubernetes/...", nil, "the project's charter: no k8s.io/kubernetes, not even in tests"},
	{"...", "cmd/...", []string{"cmd/..."}, "nothing depends on how it is started"},
	{"...", "test/...", []string{"test/..."}, "production code never sees test code"},
	{"...", "testing", []string{"test/...", "*/test/...", "*/*/*test"}, "production code never links the testing package"},
	{"controllers/...", "apis/...", nil, "components speak the Kubernetes API, not to the server's internals"},
	{"scheduler/...", "apis/...", nil, "components speak the Kubernetes API, not to the server's internals"},
	{"kubelet/...", "apis/...", nil, "components speak the Kubernetes API, not to the server's internals"},
	{"controllers/...", "scheduler/...", nil, "components meet only in the API"},
	{"controllers/...", "kubelet/...", nil, "components meet only in the API"},
	{"scheduler/...", "controllers/...", nil, "components meet only in the API"},
	{"scheduler/...", "kubelet/...", nil, "components meet only in the API"},
	{"kubelet/...", "controllers/...", nil, "components meet only in the API"},
	{"kubelet/...", "scheduler/...", nil, "components meet only in the API"},
	{"apis/...", "controllers/...", nil, "the API knows no component"},
	{"apis/...", "scheduler/...", nil, "the API knows no component"},
	{"apis/...", "kubelet/...", nil, "the API knows no component"},
	{"ingress/...", "apis/...", nil, "components speak the Kubernetes API, not to the server's internals"},
	{"ingress/...", "controllers/...", nil, "components meet only in the API"},
	{"ingress/...", "scheduler/...", nil, "components meet only in the API"},
	{"ingress/...", "kubelet/...", nil, "components meet only in the API"},
	{"apis/...", "ingress/...", nil, "the API knows no component"},
	{"controllers/...", "ingress/...", nil, "components meet only in the API"},
	{"scheduler/...", "ingress/...", nil, "components meet only in the API"},
	{"kubelet/...", "ingress/...", nil, "components meet only in the API"},
	{"ingress/route/...", "ingress/proxy/...", nil, "where requests go is decided without knowing how they get there"},
	{"ingress/proxy/...", "k8s.io/client-go/...", nil, "the proxy sees tables, not the cluster"},
	{"controllers/*", "controllers/*", nil, "controllers meet only in the API; share code in controllers/internal"},
	{"kubelet/proxy/...", "kubelet/dns/...", nil, "the node's services are components of their own"},
	{"kubelet/dns/...", "kubelet/proxy/...", nil, "the node's services are components of their own"},
	{"kubelet/network/...", "kubelet/proxy/...", nil, "the node's services are components of their own"},
	{"kubelet/policy/...", "kubelet/proxy/...", nil, "the node's services are components of their own"},
	{"kubelet/policy/...", "kubelet/network/...", nil, "the node's services are components of their own"},
	{"kubelet/proxy/...", "kubelet/policy/...", nil, "the node's services are components of their own"},
	{"kubelet/network/...", "kubelet/policy/...", nil, "the node's services are components of their own"},
	{"kubelet", "kubelet/policy/...", nil, "cmd/skiff connects the kubelet with the node's services"},
	{"kubelet", "kubelet/proxy/...", nil, "cmd/skiff connects the kubelet with the node's services"},
	{"kubelet", "kubelet/dns/...", nil, "cmd/skiff connects the kubelet with the node's services"},
	{"kubelet", "kubelet/network/...", nil, "cmd/skiff connects the kubelet with the node's services"},
	{"scheduler/plugins/...", "scheduler/queue/...", nil, "plugins see the framework only"},
	{"scheduler/plugins/...", "scheduler/cache/...", nil, "plugins see the framework only"},
	{"apis/resource/...", "apis/core/...", nil, "the vocabulary does not know its words"},
	{"apis/podspec/...", "apis/core/...", nil, "pod specs are shared by the groups"},
	{"apis/server/...", "apis/core/...", nil, "the server is handed its resources"},
	{"apis/server/...", "apis/apps/...", nil, "the server is handed its resources"},
	{"...", "k8s.io/apiserver/...", []string{"apis/...", "test/..."}, "one owner for the API machinery"},
	{"...", "go.etcd.io/...", []string{"apis/server/etcd/..."}, "one owner for etcd"},
	{"...", "sigs.k8s.io/controller-runtime/...", []string{"controllers/...", "cmd/...", "test/..."}, "one owner for the manager"},
	{"...", "github.com/containerd/containerd/...", []string{"kubelet/containerd/..."}, "one owner for containerd"},
	{"...", "github.com/google/nftables/...", []string{"kubelet/nft/..."}, "one owner for nftables"},
	{"...", "k8s.io/cri-api/...", []string{"kubelet/cri/..."}, "one owner for the CRI"},
	{"...", "github.com/container-storage-interface/spec/...", []string{"kubelet/csi/...", "test/..."}, "one owner for CSI"},
	{"...", "github.com/spf13/pflag", []string{"cmd/..."}, "flags exist only in cmd"},
	{"...", "math/rand", nil, "use math/rand/v2"},
	{"...", "github.com/pkg/errors", nil, "use fmt.Errorf with %w"},
	{"internal/...", "cmd/...", nil, "internal is the bottom layer"},
	{"config/...", "apis/...", nil, "configuration is data"},
}, betweenGroups()...)

func betweenGroups() []rule {
	var out []rule
	for _, from := range groups {
		for _, to := range groups {
			if from != to {
				out = append(out, rule{"apis/" + from, "apis/" + to, nil, "API groups do not know each other"})
			}
		}
	}
	return out
}

type pkg struct {
	ImportPath, Dir string
	Imports         []string
	TestImports     []string
	XTestImports    []string
	Module          struct{ Path string }
}

func load(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,Module", "../../...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range load(t) {
		rel := func(s string) string { return strings.TrimPrefix(strings.TrimPrefix(s, p.Module.Path), "/") }
		for _, imp := range p.Imports {
			for _, v := range violations(rel(p.ImportPath), rel(imp)) {
				t.Error(v)
			}
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if match(rules[0].deny, imp) {
				t.Errorf("%s (test) imports %s: %s", rel(p.ImportPath), imp, rules[0].why)
			}
		}
	}
}

// TestRulesBite makes sure no rule is dead: each must reject an edge built from it.
func TestRulesBite(t *testing.T) {
	sample := func(glob, leaf string) string {
		return strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(glob, "...", leaf), "*", leaf), "/")
	}
	for _, r := range rules {
		if len(violations(sample(r.from, "x"), sample(r.deny, "y"))) == 0 {
			t.Errorf("rule never fires: %+v", r)
		}
	}
}

func violations(from, imp string) []string {
	var out []string
	for _, r := range rules {
		if match(r.from, from) && match(r.deny, imp) && from != imp && !slices.ContainsFunc(r.except, func(e string) bool { return match(e, from) }) {
			out = append(out, fmt.Sprintf("%s imports %s: %s", from, imp, r.why))
		}
	}
	return out
}

func match(glob, s string) bool {
	if base, ok := strings.CutSuffix(glob, "..."); ok {
		return s == strings.TrimSuffix(base, "/") || strings.HasPrefix(s, base)
	}
	ok, err := path.Match(glob, s)
	return err == nil && ok
}
