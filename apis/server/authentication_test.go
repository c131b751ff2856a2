package server_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/apis/server"
	"skiff/config/pki"
	"skiff/test/env"
)

// tokenService is a token webhook that knows the tokens which begin with "hook-".
func tokenService(t *testing.T) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	calls := &atomic.Int32{}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.APIVersion != "authentication.k8s.io/v1" {
			http.Error(w, fmt.Sprintf("%s: %v", review.APIVersion, err), http.StatusBadRequest)
			return
		}
		name, known := strings.CutPrefix(review.Spec.Token, "hook-")
		if known {
			calls.Add(1)
		}
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: known, User: authenticationv1.UserInfo{Username: name, Groups: []string{"hooked"}}}
		if name == "elsewhere" {
			review.Status.Audiences = []string{"https://elsewhere"}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	return s, calls
}

// believing is a configuration that believes two issuers, the second one found
// by another URL than its name.
func believing(first, second *issuer, more string) []byte {
	indent := func(pem []byte) string { return strings.ReplaceAll(string(pem), "\n", "\n      ") }
	return fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions: [{path: /livez}, {path: /readyz}]
jwt:
- issuer:
    url: %s
    audiences: [skiff, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
      %s
  claimValidationRules:
  - expression: "!has(claims.banned)"
    message: the user is banned
  claimMappings:
    username: {expression: "'first:' + claims.sub"}
    groups: {expression: "claims.?teams.orValue([])"}
    uid: {claim: sub}
    extra: [{key: example.com/from, valueExpression: "'first'"}]
  userValidationRules:
  - expression: "!user.username.contains('system:')"
    message: reserved
- issuer:
    url: %s
    discoveryURL: %s/elsewhere
    audiences: [skiff]
    certificateAuthority: |
      %s
  claimMappings:
    username: {claim: sub, prefix: "second:"}
%s`, first.URL, indent(authority(first.Server)), second.URL, second.URL, indent(authority(second.Server)), more)
}

// authenticating is a server that knows users from everywhere.
type authenticating struct {
	*env.Server

	first, second *issuer
	path          string // of the configuration
	proxies       *pki.PKI
	calls         *atomic.Int32 // of the token webhook
}

func startAuthenticating(t *testing.T) *authenticating {
	a := &authenticating{first: newIssuer(t, "/.well-known/openid-configuration"), second: newIssuer(t, "/elsewhere")}
	dir := t.TempDir()
	a.path = write(t, filepath.Join(dir, "authentication.yaml"), believing(a.first, a.second, ""))
	tokens := write(t, filepath.Join(dir, "tokens.csv"), []byte("filed,fred,7,\"one,two\"\n"))
	hook, calls := tokenService(t)
	a.calls = calls
	service := kubeconfig(t, hook)
	var err error
	if a.proxies, err = pki.Load(pki.Config{Dir: filepath.Join(dir, "pki")}); err != nil {
		t.Fatal(err)
	}
	a.Server = env.Start(t, env.Options{Access: func(c *server.AccessConfig) {
		o := &c.Authentication
		o.ConfigFile, o.TokenFile, o.APIAudiences = a.path, tokens, []string{"this", "that"}
		o.Webhook.ConfigFile, o.Webhook.Version = service, "v1"
		o.FrontProxy.CAFile, o.FrontProxy.Names, o.FrontProxy.UsernameHeaders, o.FrontProxy.GroupHeaders = a.proxies.File("ca.crt"), []string{"gate"}, []string{"X-User"}, []string{"X-Group"}
	}})
	return a
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	s := startAuthenticating(t)
	eventually(t, "the issuers have answered", func() (bool, error) {
		_, err := whoAmI(t, bearer(s.Server, s.second.token(t, nil)))
		_, other := whoAmI(t, bearer(s.Server, s.first.token(t, nil)))
		return err == nil && other == nil, err
	})
	t.Run("accepted", s.testAccepted)
	t.Run("refused", s.testRefused)
	t.Run("audiences", s.testAudiences)
	t.Run("front proxy", s.testFrontProxy)
	t.Run("anonymous", s.testAnonymous)
	t.Run("reload", s.testReload) // last: it ends the second issuer
}

func (s *authenticating) testAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		token, user, uid string
		groups           []string
	}{
		"token file":      {"filed", "fred", "7", []string{"one", "two"}},
		"CEL mappings":    {s.first.token(t, map[string]any{"teams": []string{"a", "b"}}), "first:jane", "jane", []string{"a", "b"}},
		"second audience": {s.first.token(t, map[string]any{"aud": []string{"x", "other"}}), "first:jane", "jane", nil},
		"discovery URL":   {s.second.token(t, nil), "second:jane", "", nil},
		"webhook":         {"hook-harry", "harry", "", []string{"hooked"}},
	} {
		who, err := whoAmI(t, bearer(s.Server, c.token))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := append(c.groups, "system:authenticated"); who.Username != c.user || who.UID != c.uid || !slices.Equal(who.Groups, want) {
			t.Errorf("%s: got %+v, want %s in %v", name, who, c.user, want)
		}
	}
	who, err := whoAmI(t, bearer(s.Server, s.first.token(t, nil)))
	if err != nil || !slices.Equal(who.Extra["example.com/from"], authenticationv1.ExtraValue{"first"}) {
		t.Errorf("an extra of a claim: %v, %v", who.Extra, err)
	}
	before := s.calls.Load()
	if _, err := whoAmI(t, bearer(s.Server, "hook-harry")); err != nil || s.calls.Load() != before {
		t.Errorf("the webhook was asked again: %d calls after %d, %v", s.calls.Load(), before, err)
	}
}

func (s *authenticating) testRefused(t *testing.T) {
	stranger := newIssuer(t, "/.well-known/openid-configuration")
	forger := &issuer{Server: s.first.Server, key: stranger.key}
	for name, token := range map[string]string{
		"unknown":          "nonsense",
		"expired":          s.first.token(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"wrong audience":   s.first.token(t, map[string]any{"aud": "elsewhere"}),
		"banned by a rule": s.first.token(t, map[string]any{"banned": true}),
		"reserved user":    s.first.token(t, map[string]any{"sub": "system:admin"}),
		"unknown issuer":   stranger.token(t, nil),
		"forged":           forger.token(t, nil),
		"no user":          s.second.token(t, map[string]any{"sub": 5}),
	} {
		if who, err := whoAmI(t, bearer(s.Server, token)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

// testAudiences expects --api-audiences to be what tokens are for.
func (s *authenticating) testAudiences(t *testing.T) {
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "audiences")
	request := func(audiences ...string) *authenticationv1.TokenRequest {
		r, err := admin.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	implicit := request()
	if !slices.Equal(implicit.Spec.Audiences, []string{"this", "that"}) {
		t.Errorf("audiences of a token that asks for none: %v", implicit.Spec.Audiences)
	}
	if _, err := whoAmI(t, bearer(s.Server, request("that").Status.Token)); err != nil {
		t.Errorf("a token for one of them: %v", err)
	}
	outside := request("outside").Status.Token
	if _, err := whoAmI(t, bearer(s.Server, outside)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for another: %v", err)
	}
	for _, c := range []struct {
		token    string
		wanted   []string
		good     bool
		answered []string
	}{
		{outside, []string{"outside", "x"}, true, []string{"outside"}},
		{outside, nil, false, nil},
		{"filed", nil, true, []string{"this", "that"}},
		{"filed", []string{"that"}, true, []string{"that"}},
		{"filed", []string{"outside"}, false, nil},
		{"hook-elsewhere", []string{"https://elsewhere"}, true, []string{"https://elsewhere"}},
		{"hook-elsewhere", nil, false, nil},
	} {
		r, err := admin.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: c.token, Audiences: c.wanted}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Status.Authenticated != c.good || !slices.Equal(r.Status.Audiences, c.answered) {
			t.Errorf("review of %.12s for %v: %+v", c.token, c.wanted, r.Status)
		}
	}
}

// named adds headers to requests.
type named struct {
	http.RoundTripper

	headers map[string]string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range n.headers {
		r.Header.Set(k, v)
	}
	return n.RoundTripper.RoundTrip(r)
}

func (s *authenticating) testFrontProxy(t *testing.T) {
	as := func(name string) (authenticationv1.UserInfo, error) {
		cert, key, err := s.proxies.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		c := &rest.Config{Host: s.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CA(), CertData: cert, KeyData: key}}
		c.WrapTransport = func(rt http.RoundTripper) http.RoundTripper {
			return named{rt, map[string]string{"X-User": "pat", "X-Group": "staff"}}
		}
		return whoAmI(t, kubernetes.NewForConfigOrDie(c))
	}
	if who, err := as("gate"); err != nil || who.Username != "pat" || !slices.Equal(who.Groups, []string{"staff", "system:authenticated"}) {
		t.Errorf("through the proxy: %+v, %v", who, err)
	}
	if who, err := as("somebody"); !apierrors.IsUnauthorized(err) {
		t.Errorf("another certificate of its authority: %+v, %v", who, err)
	}
}

func (s *authenticating) testAnonymous(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: s.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CA()}}).Discovery().RESTClient()
	for path, want := range map[string]bool{"/livez": true, "/readyz": true, "/healthz": false, "/version": false} {
		_, err := client.Get().AbsPath(path).DoRaw(t.Context())
		if (err == nil) != want || !want && !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// counted looks for a metric with a label.
func counted(t *testing.T, s *env.Server, name, label string) func() (bool, error) {
	client := kubernetes.NewForConfigOrDie(s.Admin()).Discovery().RESTClient()
	return func() (bool, error) {
		text, err := client.Get().AbsPath("/metrics").DoRaw(t.Context())
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, name) && strings.Contains(line, label) {
				return true, err
			}
		}
		return false, err
	}
}

// testReload exchanges the issuers of a running server.
func (s *authenticating) testReload(t *testing.T) {
	works := func(i *issuer, claims map[string]any) error {
		_, err := whoAmI(t, bearer(s.Server, i.token(t, claims)))
		return err
	}
	const reloads, info = "apiserver_authentication_config_controller_automatic_reloads_total{", "apiserver_authentication_config_controller_last_config_info{"
	for _, bad := range []string{"nonsense", strings.Replace(string(believing(s.first, s.second, "")), "path: /livez", "path: /other", 1)} {
		write(t, s.path, []byte(bad))
	}
	eventually(t, "bad files are counted", counted(t, s.Server, reloads, `status="failure"`))
	if err := works(s.first, map[string]any{"n": 1}); err != nil {
		t.Errorf("after a bad file: %v", err)
	}
	third := newIssuer(t, "/elsewhere")
	final := believing(s.first, third, "")
	write(t, s.path, final)
	eventually(t, "a new issuer is believed", func() (bool, error) { err := works(third, nil); return err == nil, err })
	if err := works(s.second, map[string]any{"n": 2}); !apierrors.IsUnauthorized(err) {
		t.Errorf("an issuer that is gone: %v", err)
	}
	eventually(t, "the reload is counted", counted(t, s.Server, reloads, `status="success"`))
	eventually(t, "the file's hash is known", counted(t, s.Server, info, fmt.Sprintf("sha256:%x", sha256.Sum256(final))))
}
