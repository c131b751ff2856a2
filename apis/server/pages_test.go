package server_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

// testPages reads the pages beside the API, as who may and as who may not.
func testPages(t *testing.T, s *env.Server) {
	admin := kubernetes.NewForConfigOrDie(s.Remote("kubernetes-admin", "system:masters"))
	user := kubernetes.NewForConfigOrDie(s.Remote("somebody", "some-group"))
	for path, want := range map[string]struct{ admin, user int }{
		"/":        {http.StatusOK, http.StatusForbidden},
		"/healthz": {http.StatusOK, http.StatusOK}, "/livez": {http.StatusOK, http.StatusOK},
		"/readyz": {http.StatusOK, http.StatusOK}, "/version": {http.StatusOK, http.StatusOK},
		"/livez/etcd":                        {http.StatusOK, http.StatusForbidden},
		"/readyz/informer-sync":              {http.StatusOK, http.StatusForbidden},
		"/readyz/poststarthook/no-such-hook": {http.StatusNotFound, http.StatusForbidden},
		"/metrics":                           {http.StatusOK, http.StatusForbidden},
		"/metrics/slis":                      {http.StatusOK, http.StatusForbidden},
		"/debug/pprof/":                      {http.StatusOK, http.StatusForbidden},
		"/debug/api_priority_and_fairness/dump_priority_levels": {http.StatusOK, http.StatusForbidden},
		"/logs/": {http.StatusNotFound, http.StatusForbidden},
	} {
		if got := code(t, admin, path); got != want.admin {
			t.Errorf("GET %s as the administrator answers %d, want %d", path, got, want.admin)
		}
		if got := code(t, user, path); got != want.user {
			t.Errorf("GET %s as a user answers %d, want %d", path, got, want.user)
		}
	}
	verbose := raw(t, admin, "/readyz?verbose&exclude=etcd")
	for _, check := range []string{
		"[+]etcd excluded: ok", "[+]ping ok", "[+]log ok", "[+]etcd-readiness ok", "[+]informer-sync ok", "[+]shutdown ok",
		"[+]autoregister-completion ok", "[+]poststarthook/crd-informer-synced ok", "[+]poststarthook/rbac/bootstrap-roles ok",
		"[+]poststarthook/priority-and-fairness-filter ok", "readyz check passed",
	} {
		if !strings.Contains(verbose, check) {
			t.Errorf("/readyz doesn't say %q:\n%s", check, verbose)
		}
	}
}

func code(t *testing.T, client kubernetes.Interface, path string) int {
	t.Helper()
	status := 0
	result := client.CoreV1().RESTClient().Get().RequestURI(path).Do(t.Context())
	if result.StatusCode(&status); status == 0 { // what is no JSON has its code in the error alone
		var answer apierrors.APIStatus
		if errors.As(result.Error(), &answer) {
			return int(answer.Status().Code)
		}
	}
	return status
}

// testBodyLimit sends what is larger than a request may be.
func testBodyLimit(t *testing.T, s *env.Server) {
	client := kubernetes.NewForConfigOrDie(s.Remote("kubernetes-admin", "system:masters"))
	ns := namespace(t, client, "large")
	_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "large"}, Data: map[string]string{"k": strings.Repeat("x", 3<<20)},
	}, metav1.CreateOptions{})
	if !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("a body above 3 MiB answers %v, want 413", err)
	}
}
