package server_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"skiff/apis/server"
	"skiff/test/env"
)

// turnstile is a webhook that lets requests for config maps through one by one,
// when the test says so.
type turnstile struct {
	waiting atomic.Int32
	pass    chan struct{} // closed: everyone
}

func newTurnstile(t *testing.T, admin kubernetes.Interface) *turnstile {
	t.Helper()
	s := &turnstile{pass: make(chan struct{})}
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.waiting.Add(1)
		select {
		case <-s.pass:
		case <-r.Context().Done():
		}
		in.Response, in.Request = &admissionv1.AdmissionResponse{UID: in.Request.UID, Allowed: true}, nil
		if err := json.NewEncoder(w).Encode(in); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(hook.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	if _, err := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "turnstile"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "turnstile.example.com", SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			TimeoutSeconds: ptr.To(int32(30)),
			ClientConfig:   admissionregistrationv1.WebhookClientConfig{URL: ptr.To(hook.URL), CABundle: ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// writers may write config maps.
func writers(t *testing.T, admin kubernetes.Interface) {
	t.Helper()
	ctx := t.Context()
	if _, err := admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create", "list"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "writer"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "writers"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestTooManyRequests fills the room for writes: the next is told to come
// again, while reads and administrators are served.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) {
		c.Limits.Fairness, c.Limits.MaxMutatingRequests = false, 1
	}})
	admin, ctx := kubernetes.NewForConfigOrDie(s.Admin()), t.Context()
	writers(t, admin)
	stile := newTurnstile(t, admin)
	config := s.Remote("alice", "writers")
	var after atomic.Pointer[string]
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return onlyOnce{next, &after} })
	alice := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default")
	var full sync.WaitGroup
	full.Go(func() {
		eventually(t, "a write is let in", func() (bool, error) {
			_, err := alice.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}}, metav1.CreateOptions{})
			return err == nil, err
		})
	})
	eventually(t, "a write waits", func() (bool, error) { return stile.waiting.Load() > 0, nil })
	_, err := alice.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, metav1.CreateOptions{})
	if !apierrors.IsTooManyRequests(err) {
		t.Errorf("a second write: %v, want 429", err)
	}
	if got := after.Load(); got == nil || *got != "1" {
		t.Error("a second write isn't told to come again in a second")
	}
	if _, err := alice.List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("a read: %v", err)
	}
	if _, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("an administrator: %v", err)
	}
	close(stile.pass)
	full.Wait()
}

// onlyOnce keeps client-go from trying again by itself and holds when the
// last answer would have had it come again.
type onlyOnce struct {
	http.RoundTripper
	after *atomic.Pointer[string]
}

func (o onlyOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		o.after.Store(new(resp.Header.Get("Retry-After")))
		resp.Header.Del("Retry-After")
	}
	return resp, err
}

// TestFloodingUser has one user send more than the server takes at once: what
// another user asks is answered before the flood is through.
func TestFloodingUser(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) {
		c.Limits.MaxRequests, c.Limits.MaxMutatingRequests = 10, 10
	}})
	admin, ctx := kubernetes.NewForConfigOrDie(s.Admin()), t.Context()
	writers(t, admin)
	stile := newTurnstile(t, admin)
	flood := kubernetes.NewForConfigOrDie(s.Remote("flood", "writers")).CoreV1().ConfigMaps("default")
	calm := kubernetes.NewForConfigOrDie(s.Remote("calm", "writers")).CoreV1().ConfigMaps("default")
	eventually(t, "the flood may write", func() (bool, error) {
		_, err := flood.List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
	const requests = 60
	var done atomic.Int32
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			if _, err := flood.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("flood-", i)}}, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			done.Add(1)
		})
	}
	eventually(t, "the flood waits", func() (bool, error) { return stile.waiting.Load() > 0, nil })
	var before int32
	all.Go(func() {
		if _, err := calm.List(ctx, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		before = done.Load()
	})
	for range requests / 2 {
		stile.pass <- struct{}{}
	}
	close(stile.pass)
	all.Wait()
	if before >= requests {
		t.Errorf("the calm user was answered after all %d requests of the flood", before)
	}
}
