package server_test

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// testMetrics reads what testdata/metrics.txt lists. Other tests of the process
// share the registry, so that more may be shown, never less.
func testMetrics(t *testing.T, s *env.Server) {
	client := kubernetes.NewForConfigOrDie(s.Remote("kubernetes-admin", "system:masters"))
	ns := namespace(t, client, "metrics")
	testApply(t, client, ns)
	testWatch(t, client, ns)
	shown := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(raw(t, client, "/metrics")))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 4 && f[1] == "TYPE" {
			shown[f[2]] = f[3]
		}
	}
	data, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if name, kind, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" && shown[name] != kind {
			t.Errorf("metric %s is shown as %q, want %q", name, shown[name], kind)
		}
	}
}

func raw(t *testing.T, client kubernetes.Interface, path string) string {
	t.Helper()
	out, err := client.CoreV1().RESTClient().Get().RequestURI(path).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return string(out)
}
