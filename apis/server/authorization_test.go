package server_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/apis/server"
	"skiff/test/env"
)

// accessService is an authorization webhook: it allows users whose name begins
// with "ok-", denies "no-", fails for "fail-" and has no opinion of others.
type accessService struct {
	*httptest.Server

	calls atomic.Int32
}

func newAccessService(t *testing.T, version string) *accessService {
	t.Helper()
	s := &accessService{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		var review authorizationv1.SubjectAccessReview // v1beta1 differs in "group" alone
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.APIVersion != "authorization.k8s.io/"+version {
			http.Error(w, fmt.Sprintf("%s: %v", review.APIVersion, err), http.StatusBadRequest)
			return
		}
		verdict, _, _ := strings.Cut(review.Spec.User, "-")
		if verdict == "fail" {
			http.Error(w, "the service is broken", http.StatusBadRequest) // which isn't repeated
			return
		}
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: verdict == "ok", Denied: verdict == "no", Reason: "said " + verdict}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	return s
}

// chainOf is a configuration: a webhook that fails closed and is asked about
// secrets alone, one that fails open, then Node and RBAC.
func chainOf(strict, lax, condition string) []byte {
	hook := func(name, file, policy, conditions string) string {
		return fmt.Sprintf(`
- type: Webhook
  name: %s
  webhook:
    authorizedTTL: 5m
    unauthorizedTTL: 30s
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: %s
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
    matchConditions: [%s]`, name, policy, file, conditions)
	}
	return []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:" +
		hook("strict.example.com", strict, "Deny", fmt.Sprintf("{expression: %q}", condition)) +
		hook("lax.example.com", lax, "NoOpinion", "") + "\n- {type: Node, name: node}\n- {type: RBAC, name: rbac}\n")
}

// may asks a server what a user may get.
func may(t *testing.T, s *env.Server, user, resource string) authorizationv1.SubjectAccessReviewStatus {
	t.Helper()
	r, err := kubernetes.NewForConfigOrDie(s.Admin()).AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: resource, Namespace: "default", Name: "x"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	strict, lax := newAccessService(t, "v1"), newAccessService(t, "v1")
	files := [2]string{kubeconfig(t, strict.Server), kubeconfig(t, lax.Server)}
	const secrets, nothing = "request.resourceAttributes.resource == 'secrets'", "request.user == 'nobody'"
	path := write(t, filepath.Join(t.TempDir(), "authorization.yaml"), chainOf(files[0], files[1], secrets))
	s := env.Start(t, env.Options{Access: func(c *server.AccessConfig) { c.Authorization.ConfigFile = path }})
	for _, c := range []struct {
		user, resource  string
		allowed, denied bool
		says            string
	}{
		{"ok-ann", "secrets", true, false, "said ok"},
		{"no-bob", "secrets", false, true, "said no"},
		{"fail-cat", "secrets", false, true, ""},
		{"fail-cat", "pods", false, false, ""},
		{"ok-ann", "pods", true, false, "said ok"},
		{"dan", "secrets", false, false, ""},
		{"system:kube-scheduler", "pods", true, false, "RBAC: allowed by"},
	} {
		if got := may(t, s, c.user, c.resource); got.Allowed != c.allowed || got.Denied != c.denied || !strings.Contains(got.Reason, c.says) {
			t.Errorf("%s gets %s: %+v", c.user, c.resource, got)
		}
	}
	before := strict.calls.Load()
	if may(t, s, "ok-ann", "secrets"); strict.calls.Load() != before {
		t.Error("an answer was not remembered")
	}
	ann := kubernetes.NewForConfigOrDie(s.Remote("ok-ann"))
	if _, err := ann.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a request that a webhook allows: %v", err)
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || !rules.Status.Incomplete || !strings.Contains(rules.Status.EvaluationError, "webhook authorizer does not support user rule resolution") {
		t.Errorf("rules behind a webhook: %+v, %v", rules.Status, err)
	}
	testAuthorizationReload(t, s, path, func(condition string) []byte { return chainOf(files[0], files[1], condition) }, nothing)
	for _, name := range []string{
		`apiserver_authorization_decisions_total{decision="allowed",name="strict.example.com",type="Webhook"}`,
		`apiserver_authorization_webhook_evaluations_total{name="strict.example.com",result="success"}`,
		`apiserver_authorization_webhook_evaluations_fail_open_total{name="lax.example.com",result="error"}`,
		`apiserver_authorization_match_condition_exclusions_total{name="strict.example.com",type="Webhook"}`,
	} {
		if found, err := counted(t, s, name, "")(); !found {
			t.Errorf("no metric %s: %v", name, err)
		}
	}
}

func testAuthorizationReload(t *testing.T, s *env.Server, path string, chain func(string) []byte, condition string) {
	const reloads, info = "apiserver_authorization_config_controller_automatic_reloads_total{", "apiserver_authorization_config_controller_last_config_info{"
	for _, bad := range [][]byte{
		[]byte("nonsense"),
		chain("request.nonsense"),
		[]byte(strings.Replace(string(chain(condition)), "- {type: Node, name: node}\n", "", 1)),
	} {
		write(t, path, bad)
		eventually(t, "a bad file is counted", counted(t, s, reloads, `status="failure"`))
		if got := may(t, s, "fail-ed", "secrets"); !got.Denied {
			t.Errorf("after a bad file: %+v", got)
		}
	}
	final := chain(condition)
	write(t, path, final)
	eventually(t, "a new condition is in force", func() (bool, error) { return !may(t, s, "fail-fay", "secrets").Denied, nil })
	eventually(t, "the reload is counted", counted(t, s, reloads, `status="success"`))
	eventually(t, "the file's hash is known", counted(t, s, info, fmt.Sprintf("sha256:%x", sha256.Sum256(final))))
}

// TestAuthorizationModes starts a server with each mode that decides alone.
func TestAuthorizationModes(t *testing.T) {
	t.Parallel()
	service := newAccessService(t, "v1beta1")
	policies := write(t, filepath.Join(t.TempDir(), "policies"), []byte(`# two lines
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"ok-ann","namespace":"*","resource":"*","apiGroup":"*"}}`))
	for name, c := range map[string]struct {
		modes   []string
		ann, no bool // what ok-ann and no-bob may
	}{
		"allow":         {[]string{"AlwaysAllow"}, true, true},
		"deny":          {[]string{"AlwaysDeny"}, false, false},
		"webhook":       {[]string{"Webhook", "AlwaysAllow"}, true, false},
		"allow, before": {[]string{"AlwaysAllow", "Webhook"}, true, true},
		"policies":      {[]string{"ABAC"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := env.Start(t, env.Options{Access: func(a *server.AccessConfig) {
				a.Authorization.Modes = c.modes
				a.Authorization.PolicyFile = policies
				a.Authorization.Webhook.ConfigFile = kubeconfig(t, service.Server)
			}})
			for user, want := range map[string]bool{"ok-ann": c.ann, "no-bob": c.no} {
				_, err := kubernetes.NewForConfigOrDie(s.Remote(user)).CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
				if (err == nil) != want || !want && !apierrors.IsForbidden(err) {
					t.Errorf("%s: %v", user, err)
				}
			}
			nobody := kubernetes.NewForConfigOrDie(&rest.Config{Host: s.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CA()}})
			if _, err := nobody.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err == nil {
				t.Error("somebody without credentials lists secrets")
			}
		})
	}
}
