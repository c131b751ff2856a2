package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"skiff/apis/server"
	"skiff/apis/server/authn"
	"skiff/config"
	"skiff/test/env"
)

// TestTokens runs what can share one server: tokens, reviews and impersonation.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{})
	t.Run("bindings", func(t *testing.T) { testBindings(t, s) })
	t.Run("lifetimes", func(t *testing.T) { testLifetimes(t, s) })
	t.Run("legacy", func(t *testing.T) { testLegacyTracking(t, s) })
	t.Run("discovery", func(t *testing.T) { testIssuerDiscovery(t, s) })
	t.Run("reviews", func(t *testing.T) { testAccessReviews(t, s) })
	t.Run("constrained impersonation", func(t *testing.T) { testConstrainedImpersonation(t, s) })
	t.Run("graph", func(t *testing.T) { testNodeGraph(t, s) })
}

func askToken(t *testing.T, c kubernetes.Interface, ns string, spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
	t.Helper()
	return c.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
}

// testBindings expects a token to end with the object that it is bound to.
func testBindings(t *testing.T, s *env.Server) {
	ctx, admin := t.Context(), kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "bindings")
	secret, err := admin.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bound"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for kind, c := range map[string]struct {
		name string
		uid  types.UID
		end  func() error
	}{
		"Secret": {"s", secret.UID, func() error { return admin.CoreV1().Secrets(ns).Delete(ctx, "s", metav1.DeleteOptions{}) }},
		"Node":   {"bound", node.UID, func() error { return admin.CoreV1().Nodes().Delete(ctx, "bound", metav1.DeleteOptions{}) }},
	} {
		ref := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: c.name, UID: c.uid}
		r, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{BoundObjectRef: ref})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		who, err := whoAmI(t, bearer(s, r.Status.Token))
		if err != nil || kind == "Node" && !slices.Equal(who.Extra["authentication.kubernetes.io/node-name"], authenticationv1.ExtraValue{"bound"}) {
			t.Errorf("%s: %+v, %v", kind, who, err)
		}
		stale := *ref
		stale.UID = "another"
		if _, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{BoundObjectRef: &stale}); !apierrors.IsConflict(err) {
			t.Errorf("%s with another uid: %v", kind, err)
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		eventually(t, kind+" ends its token", func() (bool, error) {
			_, err := whoAmI(t, bearer(s, r.Status.Token))
			return apierrors.IsUnauthorized(err), err
		})
		if _, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{BoundObjectRef: ref}); !apierrors.IsNotFound(err) {
			t.Errorf("%s that is gone: %v", kind, err)
		}
	}
	ref := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "ConfigMap", Name: "c"}
	if _, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{BoundObjectRef: ref}); !apierrors.IsBadRequest(err) {
		t.Errorf("a binding to a ConfigMap: %v", err)
	}
}

// testLifetimes expects the tokens that kubelets mount to live for a year, and to
// tell their owner of an hour.
func testLifetimes(t *testing.T, s *env.Server) {
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "lifetimes")
	p := pod(t, admin, ns, "p", "n1", nil)
	ref := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}
	for _, c := range []struct {
		seconds   int64
		ref       *authenticationv1.BoundObjectReference
		audiences []string
		lives     time.Duration
	}{
		{3607, ref, nil, 365 * 24 * time.Hour}, {3600, ref, nil, time.Hour}, {3607, nil, nil, 3607 * time.Second},
		{3607, ref, []string{"elsewhere"}, 3607 * time.Second},
	} {
		r, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{ExpirationSeconds: &c.seconds, BoundObjectRef: c.ref, Audiences: c.audiences})
		if err != nil {
			t.Fatal(err)
		}
		claims := claimsOf(t, r)
		if lives := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); lives != c.lives {
			t.Errorf("%d seconds, %v: the token lives %s, want %s", c.seconds, c.ref, lives, c.lives)
		}
		told := r.Status.ExpirationTimestamp.Sub(r.CreationTimestamp.Time)
		if off := told - time.Duration(c.seconds)*time.Second; off.Abs() > 2*time.Second {
			t.Errorf("%d seconds, %v: its owner is told %s", c.seconds, c.ref, told)
		}
	}
	if _, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](599)}); !apierrors.IsInvalid(err) {
		t.Errorf("less than ten minutes: %v", err)
	}
}

// claimsOf reads what a token says.
func claimsOf(t *testing.T, r *authenticationv1.TokenRequest) (claims jwt.Claims) {
	t.Helper()
	parsed, err := jwt.ParseSigned(r.Status.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestIssuers changes the issuer of a cluster, whose older tokens stay good.
func TestIssuers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := env.Start(t, env.Options{Dir: dir})
	admin := kubernetes.NewForConfigOrDie(before.Admin())
	ns := namespace(t, admin, "issuers")
	old, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{})
	if err != nil {
		t.Fatal(err)
	}
	p := pod(t, admin, ns, "p", "n1", nil)
	before.Stop()
	s := env.Start(t, env.Options{Dir: dir, Access: func(c *server.AccessConfig) {
		c.Authentication.ServiceAccounts = config.ServiceAccountTokens{
			Issuers: []string{"https://new.test", authn.IssuerURL}, JWKSURI: "https://keys.test/jwks", MaxLifetime: time.Hour + time.Minute,
		}
	}})
	admin = kubernetes.NewForConfigOrDie(s.Admin())
	r, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](7200)})
	if err != nil {
		t.Fatal(err)
	}
	c := claimsOf(t, r)
	if c.Issuer != "https://new.test" || c.Expiry.Time().Sub(c.IssuedAt.Time()) != time.Hour+time.Minute || *r.Spec.ExpirationSeconds != 3660 || !slices.Equal(c.Audience, []string{"https://new.test", authn.IssuerURL}) {
		t.Errorf("a token for two hours: %+v, of %d seconds", c, *r.Spec.ExpirationSeconds)
	}
	mounted, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To[int64](3607), BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := claimsOf(t, mounted); c.Expiry.Time().Sub(c.IssuedAt.Time()) != 3607*time.Second {
		t.Errorf("a mounted token without the extension: %+v", c)
	}
	for name, token := range map[string]string{"old": old.Status.Token, "new": r.Status.Token} {
		if _, err := whoAmI(t, bearer(s, token)); err != nil {
			t.Errorf("the %s token: %v", name, err)
		}
	}
	document, err := admin.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
	if text := string(document); err != nil || !strings.Contains(text, `"issuer":"https://new.test"`) || !strings.Contains(text, `"jwks_uri":"https://keys.test/jwks"`) {
		t.Errorf("the document: %s, %v", text, err)
	}
}

// testLegacyTracking expects the day of its use on a token's Secret, and a token
// that is marked as invalid to be refused.
func testLegacyTracking(t *testing.T, s *env.Server) {
	ctx, admin := t.Context(), kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "tracking")
	account, err := admin.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, labels map[string]string) string {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: labels, Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
			Type:       corev1.SecretTypeServiceAccountToken,
		}
		token, err := s.Access.Issuer.Legacy(account, secret)
		if err != nil {
			t.Fatal(err)
		}
		secret.Data = map[string][]byte{corev1.ServiceAccountTokenKey: []byte(token)}
		if _, err := admin.CoreV1().Secrets(ns).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return token
	}
	used, invalid := issue("used", nil), issue("invalid", map[string]string{"kubernetes.io/legacy-token-invalid-since": "2026-01-01"})
	if _, err := whoAmI(t, bearer(s, used)); err != nil {
		t.Fatal(err)
	}
	if _, err := whoAmI(t, bearer(s, invalid)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token that is marked as invalid: %v", err)
	}
	for _, name := range []string{"used", "invalid"} {
		secret, err := admin.CoreV1().Secrets(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.DateOnly, secret.Labels["kubernetes.io/legacy-token-last-used"]); err != nil {
			t.Errorf("labels of %s: %v", name, secret.Labels)
		}
	}
	for _, name := range []string{"serviceaccount_legacy_tokens_total", "serviceaccount_legacy_manual_token_uses_total", "serviceaccount_invalid_legacy_auto_token_uses_total"} {
		if found, err := counted(t, s, name+" ", "")(); !found {
			t.Errorf("no metric %s: %v", name, err)
		}
	}
}

// testIssuerDiscovery verifies a token as another cluster would that trusts this one.
func testIssuerDiscovery(t *testing.T, s *env.Server) {
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "issuer")
	issue := func(audiences ...string) string {
		r, err := askToken(t, admin, ns, authenticationv1.TokenRequestSpec{Audiences: audiences})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.PKI.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	reader := &http.Client{Transport: named{transport, map[string]string{"Authorization": "Bearer " + issue()}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verifier, err := oidc.New(ctx, oidc.Options{
		JWTAuthenticator: apiserver.JWTAuthenticator{
			Issuer:        apiserver.Issuer{URL: authn.IssuerURL, DiscoveryURL: s.URL() + "/.well-known/openid-configuration", Audiences: []string{"elsewhere"}},
			ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: "sub", Prefix: ptr.To("")}},
		},
		Client: reader, SupportedSigningAlgs: []string{"ES256"},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the verifier has read the documents", func() (bool, error) { err := verifier.HealthCheck(); return err == nil, err })
	who, ok, err := verifier.AuthenticateToken(ctx, issue("elsewhere"))
	if err != nil || !ok || who.User.GetName() != "system:serviceaccount:"+ns+":default" {
		t.Errorf("a token for it: %+v, %v, %v", who, ok, err)
	}
	if _, ok, err := verifier.AuthenticateToken(ctx, issue("third")); ok || err == nil {
		t.Errorf("a token for somebody else: %v, %v", ok, err)
	}
}

func testAccessReviews(t *testing.T, s *env.Server) {
	ctx, admin := t.Context(), kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "reviews")
	bind(t, admin, ns, "view", "gina")
	gina := kubernetes.NewForConfigOrDie(s.Remote("gina"))
	attributes := func(verb string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: verb, Resource: "pods", Namespace: ns}
	}
	eventually(t, "the binding takes effect", func() (bool, error) {
		r, err := gina.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes("list")}}, metav1.CreateOptions{})
		return err == nil && r.Status.Allowed, err
	})
	for verb, want := range map[string]bool{"get": true, "delete": false} {
		r, err := admin.AuthorizationV1().LocalSubjectAccessReviews(ns).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "gina", ResourceAttributes: attributes(verb)},
		}, metav1.CreateOptions{})
		if err != nil || r.Status.Allowed != want {
			t.Errorf("local review of %s: %+v, %v", verb, r, err)
		}
	}
	if _, err := gina.AuthorizationV1().LocalSubjectAccessReviews(ns).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "x", ResourceAttributes: attributes("get")},
	}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a review of others by somebody without the right: %v", err)
	}
	kubelet := kubernetes.NewForConfigOrDie(s.Config("system:node:n1", "system:nodes", "system:authenticated"))
	rules, err := kubelet.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: ns}}, metav1.CreateOptions{})
	if err != nil || !rules.Status.Incomplete || rules.Status.EvaluationError != "node authorizer does not support user rule resolution" {
		t.Errorf("rules of a node: %+v, %v", rules.Status, err)
	}
}

// bind gives a user a cluster role in a namespace.
func bind(t *testing.T, c kubernetes.Interface, ns, role, user string) {
	t.Helper()
	if _, err := c.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role + "-" + user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// testConstrainedImpersonation lets hal be carol where carol lists pods, and
// nowhere else (KEP-5284).
func testConstrainedImpersonation(t *testing.T, s *env.Server) {
	ctx, admin := t.Context(), kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "constrained")
	for name, rule := range map[string]rbacv1.PolicyRule{
		"be-carol":     {Verbs: []string{"impersonate:user-info"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"users"}, ResourceNames: []string{"carol"}},
		"list-as-them": {Verbs: []string{"impersonate-on:user-info:list"}, APIGroups: []string{""}, Resources: []string{"pods"}},
	} {
		if _, err := admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "be-carol"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "be-carol"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "hal"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind(t, admin, ns, "list-as-them", "hal")
	bind(t, admin, ns, "view", "carol")
	as := func(name string) kubernetes.Interface {
		cfg := s.Remote("hal")
		cfg.Impersonate = rest.ImpersonationConfig{UserName: name}
		return kubernetes.NewForConfigOrDie(cfg)
	}
	eventually(t, "hal lists pods as carol", func() (bool, error) {
		_, err := as("carol").CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
	if _, err := as("carol").CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("config maps, which carol may list: %v", err)
	}
	if _, err := as("root").CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("as somebody else: %v", err)
	}
	if _, err := kubernetes.NewForConfigOrDie(s.Remote("hal")).CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("as himself: %v", err)
	}
}

// testNodeGraph reads what a node's pod refers to, as that node and as another.
func testNodeGraph(t *testing.T, s *env.Server) {
	ctx, admin := t.Context(), kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "graph")
	if _, err := admin.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: "graph", StorageClassName: ptr.To(""),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}
	if _, err := admin.CoreV1().PersistentVolumeClaims(ns).Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "graph"}, Spec: corev1.PersistentVolumeSpec{
		AccessModes: spec.AccessModes, Capacity: spec.Resources.Requests, ClaimRef: &corev1.ObjectReference{Namespace: ns, Name: "c"},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod(t, admin, ns, "p", "graph-1", func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{
			{Name: "a", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}}}},
			{Name: "b", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
		}
	})
	reads := func(node string) map[string]error {
		c := kubernetes.NewForConfigOrDie(s.Config("system:node:"+node, "system:nodes"))
		out := map[string]error{}
		_, out["config map"] = c.CoreV1().ConfigMaps(ns).Get(ctx, "c", metav1.GetOptions{})
		_, out["claim"] = c.CoreV1().PersistentVolumeClaims(ns).Get(ctx, "c", metav1.GetOptions{})
		_, out["volume"] = c.CoreV1().PersistentVolumes().Get(ctx, "graph", metav1.GetOptions{})
		return out
	}
	for what := range reads("graph-1") {
		eventually(t, "the node reads the "+what, func() (bool, error) { err := reads("graph-1")[what]; return err == nil, err })
	}
	for what, err := range reads("graph-2") {
		if !apierrors.IsForbidden(err) {
			t.Errorf("another node reads the %s: %v", what, err)
		}
	}
	if err := admin.CoreV1().Pods(ns).Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	for what := range reads("graph-1") {
		eventually(t, "the pod is gone, and the "+what, func() (bool, error) {
			err := reads("graph-1")[what]
			return apierrors.IsForbidden(err), err
		})
	}
}
