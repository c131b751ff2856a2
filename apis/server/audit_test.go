package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/apis/server"
	"skiff/config"
	"skiff/test/env"
)

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
omitStages: [RequestReceived]
rules:
- {level: None, users: [silent]}
- {level: Request, users: [request], omitManagedFields: false}
- {level: RequestResponse, users: [response], namespaces: [audited], resources: [{group: "", resources: [configmaps]}]}
- {level: Metadata, users: [response], verbs: [delete]}
- {level: Metadata, users: [healthy], nonResourceURLs: [/livez*]}
- {level: Metadata, users: [stages], omitStages: [ResponseComplete]}
- {level: Metadata, users: [metadata, alice, bob, carol]}
- {level: Metadata, resources: [{resources: [endpoints]}], namespaces: [audited]}
- {level: None}
`

// record writes content to a file of its own.
func record(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// auditFile is where a server records its events.
type auditFile string

// find answers the events that match so far.
func (f auditFile) find(t *testing.T, match func(auditv1.Event) bool) (out []auditv1.Event) {
	t.Helper()
	data, err := os.ReadFile(string(f))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%q is no event: %v", lines.Text(), err)
		}
		if match(e) {
			out = append(out, e)
		}
	}
	return out
}

// await waits for n events of the user about the URI, and expects no more.
func (f auditFile) await(t *testing.T, n int, user, uri string) []auditv1.Event {
	t.Helper()
	var found []auditv1.Event
	eventually(t, fmt.Sprintf("%d events of %s at %s", n, user, uri), func() (bool, error) {
		found = f.find(t, func(e auditv1.Event) bool { return e.User.Username == user && e.RequestURI == uri })
		return len(found) >= n, fmt.Errorf("%d so far", len(found))
	})
	if len(found) > n {
		t.Errorf("%d events of %s at %s, want %d", len(found), user, uri, n)
	}
	return found
}

func TestAudit(t *testing.T) {
	file := auditFile(filepath.Join(t.TempDir(), "logs", "audit.log"))
	policy := record(t, auditPolicy)
	s := env.Start(t, env.Options{Configure: func(c *server.Config) {
		c.Audit.PolicyFile, c.Audit.Log.Path = policy, string(file)
	}})
	ns := namespace(t, kubernetes.NewForConfigOrDie(s.Admin()), "audited")
	t.Run("levels", func(t *testing.T) { testAuditLevels(t, s, file, ns) })
	t.Run("stages", func(t *testing.T) { testAuditStages(t, s, file, ns) })
	t.Run("decisions", func(t *testing.T) { testAuditDecisions(t, s, file, ns) })
	t.Run("pod security", func(t *testing.T) { testAuditPodSecurity(t, s, file) })
	t.Run("impersonation", func(t *testing.T) { testAuditImpersonation(t, s, file) })
	t.Run("delegation", func(t *testing.T) { testAuditDelegation(t, s, file, ns) })
}

func master(s *env.Server, user string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(s.Remote(user, "system:masters"))
}

func testAuditLevels(t *testing.T, s *env.Server, file auditFile, ns string) {
	ctx := t.Context()
	for _, user := range []string{"silent", "metadata", "request", "response"} {
		maps := master(s, user).CoreV1().ConfigMaps(ns)
		if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: user}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := maps.Delete(ctx, user, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create := "/api/v1/namespaces/audited/configmaps"
	metadata := file.await(t, 1, "metadata", create)[0]
	if metadata.Level != auditv1.LevelMetadata || metadata.RequestObject != nil || metadata.ResponseObject != nil {
		t.Errorf("metadata: %+v", metadata)
	}
	if o := metadata.ObjectRef; o == nil || o.Resource != "configmaps" || o.Namespace != ns || o.Name != "metadata" || o.APIVersion != "v1" {
		t.Errorf("object reference %+v", o)
	}
	if metadata.Verb != "create" || metadata.ResponseStatus.Code != http.StatusCreated || metadata.UserAgent == "" ||
		!slices.Contains(metadata.SourceIPs, "127.0.0.1") || !slices.Contains(metadata.User.Groups, "system:masters") || metadata.RequestReceivedTimestamp.IsZero() {
		t.Errorf("metadata: %+v", metadata)
	}
	request := file.await(t, 1, "request", create)[0]
	if request.Level != auditv1.LevelRequest || request.ResponseObject != nil || !strings.Contains(string(request.RequestObject.Raw), `"name":"request"`) {
		t.Errorf("request: %+v", request)
	}
	response := file.await(t, 1, "response", create)[0]
	if response.Level != auditv1.LevelRequestResponse || response.RequestObject == nil || !strings.Contains(string(response.ResponseObject.Raw), `"uid"`) ||
		strings.Contains(string(response.ResponseObject.Raw), "managedFields") {
		t.Errorf("response: %+v", response)
	}
	if silent := file.find(t, func(e auditv1.Event) bool { return e.User.Username == "silent" }); len(silent) > 0 {
		t.Errorf("silent: %+v", silent)
	}
	healthy := master(s, "healthy").Discovery().RESTClient()
	for _, path := range []string{"/version", "/livez/ping"} {
		if _, err := healthy.Get().AbsPath(path).DoRaw(ctx); err != nil {
			t.Fatal(err)
		}
	}
	file.await(t, 1, "healthy", "/livez/ping")
	file.await(t, 0, "healthy", "/version")
}

func testAuditStages(t *testing.T, s *env.Server, file auditFile, ns string) {
	for user, stages := range map[string][]auditv1.Stage{
		"metadata": {auditv1.StageResponseStarted, auditv1.StageResponseComplete}, "stages": {auditv1.StageResponseStarted},
	} {
		w, err := master(s, user).CoreV1().Secrets(ns).Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			t.Fatal(err)
		}
		w.Stop()
		found := file.await(t, len(stages), user, "/api/v1/namespaces/audited/secrets?resourceVersion=0&watch=true")
		for i, e := range found {
			if e.Stage != stages[i] || e.AuditID != found[0].AuditID || e.Verb != "watch" {
				t.Errorf("%s: event %d is %+v", user, i, e)
			}
		}
	}
}

func testAuditDecisions(t *testing.T, s *env.Server, file auditFile, ns string) {
	ctx := t.Context()
	bob := kubernetes.NewForConfigOrDie(s.Remote("bob"))
	if _, err := bob.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatal(err)
	}
	e := file.await(t, 1, "bob", "/api/v1/namespaces/audited/pods")[0]
	if e.Annotations["authorization.k8s.io/decision"] != "forbid" || e.ResponseStatus.Code != http.StatusForbidden {
		t.Errorf("refused: %+v", e)
	}
	if _, err := bob.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx); err != nil {
		t.Fatal(err)
	}
	e = file.await(t, 1, "bob", "/version")[0]
	if e.Annotations["authorization.k8s.io/decision"] != "allow" || !strings.Contains(e.Annotations["authorization.k8s.io/reason"], `ClusterRoleBinding "system:`) {
		t.Errorf("allowed: %+v", e.Annotations)
	}
	if _, err := bearer(s, "nobody's").CoreV1().Endpoints(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) { //nolint:staticcheck // any resource will do
		t.Fatal(err)
	}
	if e = file.await(t, 1, "", "/api/v1/namespaces/audited/endpoints")[0]; e.ResponseStatus.Code != http.StatusUnauthorized {
		t.Errorf("unknown token: %+v", e)
	}
}

func testAuditPodSecurity(t *testing.T, s *env.Server, file auditFile) {
	ctx := t.Context()
	client := master(s, "metadata")
	const name = "restricted"
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account(t, client, name, "default")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}}}
	eventually(t, "the pod is admitted", func() (bool, error) {
		_, err := client.CoreV1().Pods(name).Create(ctx, pod, metav1.CreateOptions{})
		return err == nil, err
	})
	var found []auditv1.Event
	eventually(t, "the pod's event", func() (bool, error) {
		found = file.find(t, func(e auditv1.Event) bool {
			return e.ObjectRef != nil && e.ObjectRef.Namespace == name && e.ObjectRef.Resource == "pods" && e.ResponseStatus.Code == http.StatusCreated
		})
		return len(found) == 1, nil
	})
	a := found[0].Annotations
	if a["pod-security.kubernetes.io/enforce-policy"] != "baseline:latest" || !strings.Contains(a["pod-security.kubernetes.io/audit-violations"], "restricted:latest") {
		t.Errorf("annotations %v", a)
	}
}

func testAuditImpersonation(t *testing.T, s *env.Server, file auditFile) {
	cfg := s.Remote("metadata", "system:masters")
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "carol", Groups: []string{"guests"}}
	if _, err := whoAmI(t, kubernetes.NewForConfigOrDie(cfg)); err != nil {
		t.Fatal(err)
	}
	e := file.await(t, 1, "metadata", "/apis/authentication.k8s.io/v1/selfsubjectreviews")[0]
	if u := e.ImpersonatedUser; u == nil || u.Username != "carol" || !slices.Contains(u.Groups, "guests") {
		t.Errorf("impersonated user %+v", u)
	}
}

// testAuditDelegation expects one event a request, whichever server of the
// chain answers it.
func testAuditDelegation(t *testing.T, s *env.Server, file auditFile, ns string) {
	ctx := t.Context()
	crds := clientset.NewForConfigOrDie(s.Remote("metadata", "system:masters")).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := crds.Create(ctx, widgets(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	custom := dynamic.NewForConfigOrDie(s.Admin()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"})
	eventually(t, "widgets are served", func() (bool, error) {
		_, err := custom.List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
	asUser := dynamic.NewForConfigOrDie(s.Remote("metadata", "system:masters")).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"})
	if _, err := asUser.Namespace(ns).List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	file.await(t, 1, "metadata", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
	if e := file.await(t, 1, "metadata", "/apis/example.com/v1/namespaces/audited/widgets")[0]; e.ObjectRef.APIGroup != "example.com" {
		t.Errorf("custom resource: %+v", e.ObjectRef)
	}
	testAggregation(t, s)
	seen := map[string]int{}
	for _, e := range file.find(t, func(e auditv1.Event) bool { return e.User.Username == "alice" }) {
		seen[string(e.AuditID)+string(e.Stage)]++
	}
	if len(seen) == 0 {
		t.Error("requests to the extension are not recorded")
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is recorded %d times", id, n)
		}
	}
}

// TestAuditWebhook sends events in batches, and in mode blocking-strict refuses
// what it can't record.
func TestAuditWebhook(t *testing.T) {
	var mu sync.Mutex
	var events []auditv1.Event
	broken := false
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || broken {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		events = append(events, list.Items...)
	}))
	defer sink.Close()
	kubeconfig := record(t, `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "`+sink.URL+`"}}]}`)
	policy := record(t, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, users: [alice]}]")
	for _, mode := range []string{"batch", "blocking-strict"} {
		t.Run(mode, func(t *testing.T) {
			s := env.Start(t, env.Options{Configure: func(c *server.Config) {
				c.Audit.PolicyFile, c.Audit.Webhook.ConfigFile = policy, kubeconfig
				c.Audit.Webhook.InitialBackoff = time.Millisecond
				c.Audit.Webhook.Delivery.Mode, c.Audit.Webhook.Delivery.Batch.MaxWait = mode, 10*time.Millisecond
			}})
			alice := master(s, "alice")
			if _, err := alice.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: mode}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the events arrive", func() (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				n := 0
				for _, e := range events {
					if strings.HasSuffix(e.RequestURI, "labelSelector="+mode) {
						n++
					}
				}
				return n == 2, fmt.Errorf("%d events", n)
			})
			if mode == "blocking-strict" {
				mu.Lock()
				broken = true
				mu.Unlock()
				if _, err := alice.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsInternalError(err) {
					t.Errorf("what can't be recorded: %v", err)
				}
			}
		})
	}
}

// TestAuditOnStop expects what waits in a batch to be written before the end.
func TestAuditOnStop(t *testing.T) {
	file := auditFile(filepath.Join(t.TempDir(), "audit.log"))
	policy := record(t, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, users: [alice]}]")
	s := env.Start(t, env.Options{Configure: func(c *server.Config) {
		c.Audit.PolicyFile, c.Audit.Log.Path, c.Audit.Log.Delivery.Mode = policy, string(file), "batch"
	}})
	if _, err := master(s, "alice").CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	file.await(t, 2, "alice", "/api/v1/nodes")
}

// TestAuditLegacyFormat writes one line of text an event, over the transport in
// the process as well.
func TestAuditLegacyFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	policy := record(t, "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, users: [inside]}]")
	s := env.Start(t, env.Options{Configure: func(c *server.Config) {
		c.Audit.PolicyFile, c.Audit.Log.Path, c.Audit.Log.Format = policy, path, "legacy"
	}})
	inside := kubernetes.NewForConfigOrDie(s.Config("inside", "system:masters"))
	if _, err := inside.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the line", func() (bool, error) {
		data, err := os.ReadFile(path)
		return strings.Contains(string(data), `user="inside"`) && strings.Contains(string(data), `uri="/api/v1/nodes"`), err
	})
}

func TestUnusableAuditFiles(t *testing.T) {
	for name, content := range map[string]string{
		"no level":       "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{users: [a]}]",
		"unknown level":  "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]",
		"unknown stage":  "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, omitStages: [Soon]}]",
		"both kinds":     "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, nonResourceURLs: [/x], namespaces: [a]}]",
		"bad URL":        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, nonResourceURLs: [x/*/y]}]",
		"no rules":       "apiVersion: audit.k8s.io/v1\nkind: Policy",
		"another kind":   "apiVersion: v1\nkind: Pod",
		"old version":    "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]",
		"not YAML":       "{",
		"empty":          "",
		"a list of text": "[a, b]",
	} {
		t.Run(name, func(t *testing.T) {
			path := record(t, content)
			err := server.CheckAudit(config.Audit{PolicyFile: path})
			var e *config.Error
			if !errors.As(err, &e) || e.Key != "audit-policy-file" || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q", err)
			}
		})
	}
	if err := server.CheckAudit(config.Audit{PolicyFile: "/missing"}); err == nil || !strings.Contains(err.Error(), "/missing") {
		t.Errorf("missing policy: %v", err)
	}
	if err := server.CheckAudit(config.Audit{Webhook: config.AuditWebhook{ConfigFile: record(t, "{")}}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("bad kubeconfig: %v", err)
	}
	if err := server.CheckAudit(config.Audit{PolicyFile: record(t, auditPolicy)}); err != nil {
		t.Error(err)
	}
}
