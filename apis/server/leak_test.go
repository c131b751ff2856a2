package server_test

import (
	"testing"

	"go.uber.org/goleak"
	"k8s.io/client-go/kubernetes"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/test/env"
)

// TestStopLeavesNothing compares the goroutines before and after a server.
func TestStopLeavesNothing(t *testing.T) {
	env.Start(t, env.Options{}).Stop() // what libraries start once per process
	before := goleak.IgnoreCurrent()
	s := env.Start(t, env.Options{})
	client := kubernetes.NewForConfigOrDie(s.Admin())
	if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	// A read that waited for the watch cache leaves a timer of three seconds.
	waiting := goleak.IgnoreTopFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshLocked.func2")
	goleak.VerifyNone(t, before, waiting)
}
