package server_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/test/env"
)

// TestStopLeavesNothing compares the goroutines before and after a server.
func TestStopLeavesNothing(t *testing.T) {
	env.Start(t, env.Options{}).Stop() // what libraries start once per process
	before := goleak.IgnoreCurrent()
	s := env.Start(t, env.Options{Configure: checkPolicies})
	client := kubernetes.NewForConfigOrDie(s.Admin())
	policies := client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	if _, err := policies.Create(t.Context(), policyOn("p", []admissionv1.NamedRuleWithOperations{of("apps", "v1", "deployments")}, "object.spec.replicas > 1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	checked(t, client, "p")
	s.Stop()
	// A read that waited for the watch cache leaves a timer of three seconds.
	waiting := goleak.IgnoreTopFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshLocked.func2")
	goleak.VerifyNone(t, before, waiting)
}

// TestQuietStart expects a start to log no error.
func TestQuietStart(t *testing.T) {
	var log lockedBuffer
	klog.LogToStderr(false)
	klog.SetOutput(&log)
	s := env.Start(t, env.Options{})
	klog.Flush()
	text := log.String()
	klog.LogToStderr(true)
	s.Stop()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "E") {
			t.Fatal(strings.TrimSpace(line)) // it stands in the log of each severity
		}
	}
}

// lockedBuffer may be written to by many.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
