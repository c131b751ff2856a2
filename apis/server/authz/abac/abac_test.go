package abac

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func read(t *testing.T, lines string) (Policies, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policies")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(path)
}

func line(spec string) string {
	return `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{` + spec + "}}\n"
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	all, err := read(t, "# who may what\n\n"+
		line(`"user":"admin","namespace":"*","resource":"*","apiGroup":"*"`)+
		line(`"group":"viewers","readonly":true,"namespace":"web","resource":"pods"`)+
		line(`"user":"prober","group":"probes","nonResourcePath":"/health*"`)+
		line(`"user":"*","nonResourcePath":"/version","readonly":true`)+
		`{"user":"old","namespace":"web"}`+"\n"+`{"group":"oldest"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, groups, verb, group, resource, namespace, path string
		want                                                 bool
	}{
		{"admin", "", "delete", "apps", "deployments", "any", "", true},
		{"admin", "", "get", "", "", "", "/metrics", false},
		{"v", "viewers", "get", "", "pods", "web", "", true},
		{"v", "viewers", "delete", "", "pods", "web", "", false},
		{"v", "viewers", "get", "", "pods", "other", "", false},
		{"v", "viewers", "get", "apps", "pods", "web", "", false},
		{"prober", "probes", "get", "", "", "", "/healthz/etcd", true},
		{"prober", "", "get", "", "", "", "/healthz", false},
		{"any", user.AllAuthenticated, "get", "", "", "", "/version", true},
		{"any", user.AllAuthenticated, "post", "", "", "", "/version", false},
		{user.Anonymous, user.AllUnauthenticated, "get", "", "", "", "/version", false},
		{"old", "", "delete", "apps", "deployments", "web", "", true},
		{"old", "", "delete", "apps", "deployments", "other", "", false},
		{"x", "oldest", "get", "", "", "", "/metrics", true},
	} {
		a := authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: c.user, Groups: strings.Fields(c.groups)}, Verb: c.verb, APIGroup: c.group, Resource: c.resource,
			Namespace: c.namespace, Path: c.path, ResourceRequest: c.path == "",
		}
		decision, reason, err := all.Authorize(t.Context(), a)
		if got := decision == authorizer.DecisionAllow; got != c.want || err != nil || !got && reason != "No policy matched." {
			t.Errorf("%+v: %v %q %v", c, decision, reason, err)
		}
	}
	resources, urls, incomplete, err := all.RulesFor(t.Context(), &user.DefaultInfo{Name: "v", Groups: []string{"viewers", "oldest"}}, "web")
	if len(resources) != 2 || len(urls) != 1 || incomplete || err != nil || resources[0].GetVerbs()[0] != "get" {
		t.Errorf("rules: %v %v %v %v", resources, urls, incomplete, err)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for lines, says := range map[string]string{
		"nonsense": "line 1", "\n" + `{"user":5}`: "line 2",
		`{"apiVersion":"abac.authorization.kubernetes.io/v2","kind":"Policy"}`: "no kind",
	} {
		if _, err := read(t, lines); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", lines, err)
		}
	}
}
