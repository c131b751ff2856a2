package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"skiff/test/env"
)

// bearer is a client with a token and no certificate.
func bearer(s *env.Server, token string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(&rest.Config{
		Host: s.URL(), BearerToken: token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CA()},
	})
}

func whoAmI(t *testing.T, c kubernetes.Interface) (authenticationv1.UserInfo, error) {
	t.Helper()
	review, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

func testRBAC(t *testing.T, s *env.Server) {
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "rbac")
	alice := kubernetes.NewForConfigOrDie(s.Remote("alice", "devs"))
	if _, err := alice.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("before any binding: %v", err)
	}
	if _, err := admin.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "devs"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "devs"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the binding takes effect", func() (bool, error) {
		_, err := alice.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
	for _, c := range []struct {
		user    string
		groups  []string
		verb    string
		group   string
		what    string
		sub     string
		ns      string
		name    string
		allowed bool
	}{
		{"alice", []string{"devs"}, "create", "apps", "deployments", "", ns, "", true},
		{"alice", []string{"devs"}, "create", "", "pods", "exec", ns, "", true},
		{"alice", []string{"devs"}, "create", "apps", "deployments", "", "default", "", false},
		{"alice", []string{"devs"}, "create", "rbac.authorization.k8s.io", "roles", "", ns, "", false},
		{"alice", []string{"devs"}, "list", "", "nodes", "", "", "", false},
		{"bob", nil, "get", "", "pods", "", ns, "", false},
		{"root", []string{"system:masters"}, "delete", "", "nodes", "", "", "x", true},
		{"system:kube-scheduler", nil, "create", "", "pods", "binding", ns, "", true},
		{"system:kube-scheduler", nil, "delete", "", "secrets", "", ns, "", false},
		{"system:serviceaccount:kube-system:deployment-controller", []string{"system:serviceaccounts"}, "create", "apps", "replicasets", "", ns, "", true},
		{"system:serviceaccount:kube-system:generic-garbage-collector", nil, "delete", "example.com", "anything", "", ns, "", true},
	} {
		review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: c.user, Groups: c.groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: c.verb, Group: c.group, Resource: c.what, Subresource: c.sub, Namespace: c.ns, Name: c.name},
		}}, metav1.CreateOptions{})
		if err != nil || review.Status.Allowed != c.allowed {
			t.Errorf("%s %v %s %s/%s in %q: %v (%s), %v", c.user, c.groups, c.verb, c.what, c.sub, c.ns, review.Status.Allowed, review.Status.Reason, err)
		}
	}
	rules, err := alice.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: ns}}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) < 10 {
		t.Errorf("rules of alice: %d, %v", len(rules.Status.ResourceRules), err)
	}
}

func testAnonymous(t *testing.T, s *env.Server) {
	anonymous := kubernetes.NewForConfigOrDie(&rest.Config{Host: s.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CA()}})
	if _, err := anonymous.Discovery().ServerVersion(); err != nil {
		t.Errorf("version: %v", err)
	}
	_, err := anonymous.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("pods: %v", err)
	}
	if _, err := bearer(s, "nonsense").Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		t.Errorf("a bad token: %v", err)
	}
}

// pod makes a pod that is bound to a node at once.
func pod(t *testing.T, client kubernetes.Interface, ns, name, node string, change func(*corev1.PodSpec)) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}
	if change != nil {
		change(&p.Spec)
	}
	p, err := client.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testNode(t *testing.T, s *env.Server) {
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "node")
	for _, name := range []string{"mine", "other"} {
		if _, err := admin.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	kubelet := kubernetes.NewForConfigOrDie(s.Config("system:node:n1", "system:nodes"))
	node, err := kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != corev1.TaintNodeNotReady {
		t.Errorf("a new node's taints: %v", node.Spec.Taints)
	}
	if _, err := kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another node: %v", err)
	}
	node.Labels = map[string]string{"node-restriction.kubernetes.io/trusted": "yes"}
	if _, err := kubelet.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a reserved label: %v", err)
	}
	mine := pod(t, admin, ns, "mine", "n1", func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mine"}}}}
	})
	theirs := pod(t, admin, ns, "theirs", "n2", nil)
	eventually(t, "the node may read its pod's secret", func() (bool, error) {
		_, err := kubelet.CoreV1().Secrets(ns).Get(ctx, "mine", metav1.GetOptions{})
		return err == nil, err
	})
	refused := map[string]error{}
	_, refused["a foreign secret"] = kubelet.CoreV1().Secrets(ns).Get(ctx, "other", metav1.GetOptions{})
	_, refused["all secrets"] = kubelet.CoreV1().Secrets(ns).List(ctx, metav1.ListOptions{})
	_, refused["all pods"] = kubelet.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	_, refused["a foreign pod"] = kubelet.CoreV1().Pods(ns).Get(ctx, theirs.Name, metav1.GetOptions{})
	_, refused["a foreign status"] = kubelet.CoreV1().Pods(ns).UpdateStatus(ctx, theirs, metav1.UpdateOptions{})
	_, refused["a pod of its own making"] = kubelet.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "made"}, Spec: mine.Spec}, metav1.CreateOptions{})
	_, refused["a token of nobody"] = kubelet.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	refused["deleting a foreign pod"] = kubelet.CoreV1().Pods(ns).Delete(ctx, theirs.Name, metav1.DeleteOptions{})
	for what, err := range refused {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	pods, err := kubelet.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
	if err != nil || len(pods.Items) != 1 {
		t.Errorf("its own pods: %d, %v", len(pods.Items), err)
	}
	mine.Status.Phase = corev1.PodRunning
	if _, err := kubelet.CoreV1().Pods(ns).UpdateStatus(ctx, mine, metav1.UpdateOptions{}); err != nil {
		t.Errorf("its pod's status: %v", err)
	}
	token, err := kubelet.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: mine.Name, UID: mine.UID},
	}}, metav1.CreateOptions{})
	if err != nil || token.Status.Token == "" {
		t.Errorf("a token for its pod: %v", err)
	}
}

func testBoundTokens(t *testing.T, s *env.Server) {
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "bound")
	bound := pod(t, admin, ns, "bound", "n1", nil)
	request := func(spec authenticationv1.TokenRequestSpec) string {
		t.Helper()
		r, err := admin.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	token := request(authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To[int64](3600),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: bound.Name, UID: bound.UID},
	})
	who, err := whoAmI(t, bearer(s, token))
	if err != nil {
		t.Fatal(err)
	}
	if who.Username != "system:serviceaccount:"+ns+":default" || len(who.Groups) != 3 || who.Extra["authentication.kubernetes.io/pod-name"][0] != "bound" {
		t.Errorf("the token is %+v", who)
	}
	other := request(authenticationv1.TokenRequestSpec{Audiences: []string{"https://elsewhere"}})
	if _, err := whoAmI(t, bearer(s, other)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for another audience: %v", err)
	}
	forged := token[:len(token)-4] + "AAAA"
	if _, err := whoAmI(t, bearer(s, forged)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a forged token: %v", err)
	}
	if err := admin.CoreV1().Pods(ns).Delete(ctx, bound.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token ends with its pod", func() (bool, error) {
		_, err := whoAmI(t, bearer(s, token))
		return apierrors.IsUnauthorized(err), err
	})
}

func testLegacyTokens(t *testing.T, s *env.Server) {
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "legacy")
	account, err := admin.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := admin.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Access.Issuer.Legacy(account, secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whoAmI(t, bearer(s, token)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token that its secret doesn't hold: %v", err)
	}
	secret.Data = map[string][]byte{corev1.ServiceAccountTokenKey: []byte(token)}
	if _, err := admin.CoreV1().Secrets(ns).Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token works", func() (bool, error) {
		who, err := whoAmI(t, bearer(s, token))
		return who.Username == "system:serviceaccount:"+ns+":default", err
	})
	if err := admin.CoreV1().Secrets(ns).Delete(ctx, secret.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token ends with its secret", func() (bool, error) {
		_, err := whoAmI(t, bearer(s, token))
		return apierrors.IsUnauthorized(err), err
	})
}

func testBootstrapTokens(t *testing.T, s *env.Server) {
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	add := func(id string, change map[string]string) {
		data := map[string]string{
			"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
			"auth-extra-groups": "system:bootstrappers:nodes",
		}
		for k, v := range change {
			data[k] = v
		}
		if _, err := admin.CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: "bootstrap.kubernetes.io/token", StringData: data,
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	add("aaaaaa", nil)
	add("bbbbbb", map[string]string{"expiration": time.Now().Add(-time.Hour).Format(time.RFC3339)})
	add("cccccc", map[string]string{"usage-bootstrap-authentication": "false"})
	eventually(t, "the token works", func() (bool, error) {
		who, err := whoAmI(t, bearer(s, "aaaaaa.0123456789abcdef"))
		return who.Username == "system:bootstrap:aaaaaa" && len(who.Groups) == 3, err
	})
	for _, token := range []string{"aaaaaa.0123456789abcdee", "bbbbbb.0123456789abcdef", "cccccc.0123456789abcdef", "dddddd.0123456789abcdef"} {
		if _, err := whoAmI(t, bearer(s, token)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// testTokenReview asks in-process, where the caller's own identity must not be
// taken for the token's.
func testTokenReview(t *testing.T, s *env.Server) {
	admin := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, admin, "review")
	token, err := admin.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	review := func(token string) authenticationv1.TokenReviewStatus {
		t.Helper()
		r, err := admin.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if got := review(token.Status.Token); !got.Authenticated || got.User.Username != "system:serviceaccount:"+ns+":default" {
		t.Errorf("a good token: %+v", got)
	}
	if got := review("nonsense"); got.Authenticated {
		t.Errorf("a bad token: %+v", got)
	}
}

func testImpersonation(t *testing.T, s *env.Server) {
	cfg := s.Remote("kubernetes-admin", "system:masters")
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "carol", Groups: []string{"guests"}}
	who, err := whoAmI(t, kubernetes.NewForConfigOrDie(cfg))
	if err != nil || who.Username != "carol" {
		t.Errorf("as carol: %+v, %v", who, err)
	}
	cfg = s.Remote("dave")
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "carol"}
	if _, err := whoAmI(t, kubernetes.NewForConfigOrDie(cfg)); !apierrors.IsForbidden(err) {
		t.Errorf("dave as carol: %v", err)
	}
	// Only the front proxy's certificate may assert a user.
	front := s.Remote("kubernetes-admin", "system:masters")
	front.WrapTransport = func(rt http.RoundTripper) http.RoundTripper { return asserting{rt} }
	who, err = whoAmI(t, kubernetes.NewForConfigOrDie(front))
	if err != nil || who.Username != "kubernetes-admin" {
		t.Errorf("headers of a stranger: %+v, %v", who, err)
	}
	cert, err := s.PKI.Read("front-proxy-client.crt")
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.PKI.Read("front-proxy-client.key")
	if err != nil {
		t.Fatal(err)
	}
	front.CertData, front.KeyData = cert, key
	who, err = whoAmI(t, kubernetes.NewForConfigOrDie(front))
	if err != nil || who.Username != "eve" {
		t.Errorf("headers of the front proxy: %+v, %v", who, err)
	}
}

// asserting adds the headers with which a proxy names a user.
type asserting struct{ http.RoundTripper }

func (a asserting) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	r.Header.Set("X-Remote-User", "eve")
	r.Header.Set("X-Remote-Group", "system:authenticated")
	return a.RoundTripper.RoundTrip(r)
}
