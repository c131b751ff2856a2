package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"skiff/test/cluster"
)

// TestHelm takes the chart of `helm create` through its life with both versions
// of Helm.
func TestHelm(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	for _, version := range []string{"helm3", "helm4"} {
		t.Run(version, func(t *testing.T) { testHelm(t, c, version) })
	}
}

func testHelm(t *testing.T, c *cluster.Cluster, version string) {
	helm := func(args ...string) string {
		t.Helper()
		out, err := cluster.Output(c.Command(version, args...))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	release := "demo-" + version
	chart := filepath.Join(c.Dir, version, "demo")
	if err := os.MkdirAll(filepath.Dir(chart), 0o755); err != nil {
		t.Fatal(err)
	}
	helm("create", chart)
	useAgent(t, chart)

	out := helm("install", release, chart, "--wait", "--timeout=90s")
	if !strings.Contains(out, "STATUS: deployed") {
		t.Errorf("install says\n%s", out)
	}
	replicas := func(want string) {
		t.Helper()
		if out := c.Kubectl(t, "get", "deployment", "-l", "app.kubernetes.io/instance="+release, "-o", "jsonpath={.items[0].status.readyReplicas}"); out != want {
			t.Errorf("%s replicas are ready, want %s", out, want)
		}
	}
	replicas("1")
	helm("upgrade", release, chart, "--set=replicaCount=2", "--wait", "--timeout=90s")
	replicas("2")
	helm("test", release, "--timeout=90s")
	helm("rollback", release, "1", "--wait", "--timeout=90s")
	replicas("1")
	if out := helm("history", release); !regexp.MustCompile(`(?s)1\s.*superseded.*2\s.*superseded.*3\s.*deployed`).MatchString(out) {
		t.Errorf("history:\n%s", out)
	}
	helm("uninstall", release, "--wait", "--timeout=90s")
	if out := helm("list", "--all-namespaces", "-q"); strings.Contains(out, release) {
		t.Errorf("still listed:\n%s", out)
	}
	if out := c.Kubectl(t, "get", "deployment,service,serviceaccount", "-l", "app.kubernetes.io/instance="+release, "-o", "name"); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
}

// useAgent makes the generated chart run the test image, which listens where
// the chart's service and probes look.
func useAgent(t *testing.T, chart string) {
	t.Helper()
	edit := func(name, pattern, replacement string) {
		t.Helper()
		path := filepath.Join(chart, name)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(pattern)
		if !re.Match(raw) {
			t.Fatalf("%s of the generated chart has no %s", name, pattern)
		}
		if err := os.WriteFile(path, re.ReplaceAll(raw, []byte(replacement)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("values.yaml", `repository: nginx`, "repository: "+cluster.OpenRegistry+"/agent")
	edit("values.yaml", `tag: ""`, `tag: "v1"`)
	edit("templates/deployment.yaml", `(?m)^(\s+)- name: \{\{ \.Chart\.Name \}\}$`, "${0}\n${1}  command: [agent, serve, \"80\"]")
	edit("templates/tests/test-connection.yaml", `image: busybox`, "image: "+cluster.OpenRegistry+"/agent:v1")
}
