package server_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// TestLogsOfUnverifiedKubelet reads a log from a kubelet whose serving
// certificate nobody has signed.
func TestLogsOfUnverifiedKubelet(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{})
	kubelet := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("said by " + r.URL.Path)) // the reader notices
	}))
	t.Cleanup(kubelet.Close)
	c, ctx := kubernetes.NewForConfigOrDie(s.Admin()), t.Context()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: portOf(t, kubelet)}},
	}}
	if _, err := c.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if _, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := c.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{}).DoRaw(ctx); err == nil || !strings.Contains(err.Error()+string(out), "certificate") {
		t.Errorf("a kubelet that can't be verified is believed: %q, %v", out, err)
	}
	out, err := c.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: true}).DoRaw(ctx)
	if want := "said by /containerLogs/default/p/c"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

// portOf is where a test's own server listens.
func portOf(t *testing.T, s *httptest.Server) int32 {
	t.Helper()
	at, ok := s.Listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listening on %v", s.Listener.Addr())
	}
	return int32(at.Port) //nolint:gosec // a port
}
