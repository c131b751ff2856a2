package server_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// testMetrics reads what testdata/metrics.txt lists. Other tests of the process
// share the registry, so that more may be shown. Less may be as well for a while: a server that ends takes the sizes of
// the resources it had with it, until others measure theirs, once a minute; those of a new resource are measured at once.
func testMetrics(t *testing.T, s *env.Server) {
	client := kubernetes.NewForConfigOrDie(s.Remote("kubernetes-admin", "system:masters"))
	ns := namespace(t, client, "metrics")
	testApply(t, client, ns)
	testWatch(t, client, ns)
	measured := widgets()
	measured.Name, measured.Spec.Group = "widgets.measured.example.com", "measured.example.com"
	if _, err := clientset.NewForConfigOrDie(s.Admin()).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), measured, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "metrics", func() (bool, error) {
		if _, err := client.RESTClient().Get().AbsPath("/apis/measured.example.com/v1/widgets").DoRaw(t.Context()); err != nil {
			return false, err
		}
		missing := missingMetrics(string(want), raw(t, client, "/metrics"))
		return missing == nil, missing
	})
}

// missingMetrics tells which of the wanted metrics, NAME TYPE a line, are not shown so.
func missingMetrics(want, shown string) error {
	types := map[string]string{}
	for line := range strings.Lines(shown) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" {
			types[f[2]] = f[3]
		}
	}
	var missing []error
	for line := range strings.Lines(want) {
		if name, kind, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" && types[name] != kind {
			missing = append(missing, fmt.Errorf("metric %s is shown as %q, want %q", name, types[name], kind))
		}
	}
	return errors.Join(missing...)
}

func raw(t *testing.T, client kubernetes.Interface, path string) string {
	t.Helper()
	out, err := client.CoreV1().RESTClient().Get().RequestURI(path).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return string(out)
}
