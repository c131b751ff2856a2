package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/test/env"
)

// patience is far above what anything here takes on a busy machine.
const patience = 30 * time.Second

// TestServer runs everything that can share one server against it.
func TestServer(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{})
	for transport, cfg := range map[string]*rest.Config{"in-process": s.Admin(), "network": s.Remote("kubernetes-admin", "system:masters")} {
		client := kubernetes.NewForConfigOrDie(cfg)
		ns := namespace(t, client, "objects-"+transport)
		t.Run(transport, func(t *testing.T) {
			t.Run("apply", func(t *testing.T) { testApply(t, client, ns) })
			t.Run("patch", func(t *testing.T) { testPatch(t, client, ns) })
			t.Run("watch", func(t *testing.T) { testWatch(t, client, ns) })
			t.Run("informer", func(t *testing.T) { testInformer(t, client, ns) })
			t.Run("table", func(t *testing.T) { testTable(t, client, ns) })
			t.Run("update conflict", func(t *testing.T) { testConflict(t, client, ns) })
			t.Run("discovery", func(t *testing.T) { testDiscovery(t, client) })
		})
	}
	t.Run("endpoints", func(t *testing.T) { testEndpoints(t, s) })
	t.Run("metrics", func(t *testing.T) { testMetrics(t, s) })
	t.Run("pages", func(t *testing.T) { testPages(t, s) })
	t.Run("body limit", func(t *testing.T) { testBodyLimit(t, s) })
	t.Run("system objects", func(t *testing.T) { testSystemObjects(t, s) })
	t.Run("rbac", func(t *testing.T) { testRBAC(t, s) })
	t.Run("anonymous", func(t *testing.T) { testAnonymous(t, s) })
	t.Run("node", func(t *testing.T) { testNode(t, s) })
	t.Run("bound tokens", func(t *testing.T) { testBoundTokens(t, s) })
	t.Run("legacy tokens", func(t *testing.T) { testLegacyTokens(t, s) })
	t.Run("bootstrap tokens", func(t *testing.T) { testBootstrapTokens(t, s) })
	t.Run("token review", func(t *testing.T) { testTokenReview(t, s) })
	t.Run("impersonation", func(t *testing.T) { testImpersonation(t, s) })
	t.Run("admission", func(t *testing.T) { testAdmission(t, s) })
	t.Run("quota", func(t *testing.T) { testQuota(t, s) })
	t.Run("topology", func(t *testing.T) { testTopology(t, s) })
	t.Run("webhooks", func(t *testing.T) { testWebhooks(t, s) })
	t.Run("policies", func(t *testing.T) { testPolicies(t, s) })
	t.Run("custom resources", func(t *testing.T) { testCustomResources(t, s) })
	t.Run("aggregation", func(t *testing.T) { testAggregation(t, s) })
}

// namespace makes a namespace with a default service account, as controllers do.
func namespace(t *testing.T, client kubernetes.Interface, name string) string {
	t.Helper()
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account(t, client, name, "default")
	return name
}

func account(t *testing.T, client kubernetes.Interface, ns, name string) *corev1.ServiceAccount {
	t.Helper()
	a, err := client.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// eventually retries until the condition holds.
func eventually(t *testing.T, what string, condition func() (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		ok, err := condition()
		last = err
		return ok, nil
	})
	if err != nil {
		t.Fatalf("%s: %v (last: %v)", what, err, last)
	}
}

func deployment(name string) *appsac.DeploymentApplyConfiguration {
	labels := map[string]string{"app": name}
	return appsac.Deployment(name, "").WithSpec(appsac.DeploymentSpec().
		WithReplicas(2).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).
			WithSpec(corev1ac.PodSpec().WithContainers(corev1ac.Container().WithName("c").WithImage("example.com/c:1")))))
}

func testApply(t *testing.T, client kubernetes.Interface, ns string) {
	ctx := t.Context()
	apply := client.AppsV1().Deployments(ns)
	d := deployment("applied")
	d.Namespace = &ns
	first, err := apply.Apply(ctx, d, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if first.Generation != 1 || *first.Spec.Replicas != 2 || first.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Errorf("created as generation %d, %+v", first.Generation, first.Spec)
	}
	other := appsac.Deployment("applied", ns).WithSpec(appsac.DeploymentSpec().WithReplicas(5))
	if _, err := apply.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		t.Errorf("another manager's value: %v, want a conflict", err)
	}
	forced, err := apply.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil || *forced.Spec.Replicas != 5 || forced.Generation != 2 {
		t.Fatalf("forced: %v", err)
	}
	d.Spec.Replicas = nil
	released, err := apply.Apply(ctx, d, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil || *released.Spec.Replicas != 5 {
		t.Errorf("after its first manager let go: %v, %v", released.Spec.Replicas, err)
	}
	managers := map[string]bool{}
	for _, f := range released.ManagedFields {
		managers[f.Manager] = true
	}
	if !managers["one"] || !managers["two"] {
		t.Errorf("managers %v", managers)
	}
}

func testPatch(t *testing.T, client kubernetes.Interface, ns string) {
	ctx := t.Context()
	cms := client.CoreV1().ConfigMaps(ns)
	if _, err := cms.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "patched", Labels: map[string]string{"a": "1"}}, Data: map[string]string{"x": "1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for kind, body := range map[types.PatchType]string{
		types.MergePatchType:          `{"data":{"merge":"yes"}}`,
		types.StrategicMergePatchType: `{"data":{"strategic":"yes"}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/data/json","value":"yes"},{"op":"remove","path":"/metadata/labels/a"}]`,
	} {
		if _, err := cms.Patch(ctx, "patched", kind, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	got, err := cms.Get(ctx, "patched", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Data["merge"]+got.Data["strategic"]+got.Data["json"] != "yesyesyes" || len(got.Labels) != 0 {
		t.Errorf("got %v, labels %v", got.Data, got.Labels)
	}
}

func testWatch(t *testing.T, client kubernetes.Interface, ns string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cms := client.CoreV1().ConfigMaps(ns)
	w, err := cms.Watch(ctx, metav1.ListOptions{LabelSelector: "watch=me"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "watched", Labels: map[string]string{"watch": "me"}}}
	if cm, err = cms.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cm.Labels["watch"] = "not"
	if _, err = cms.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		select {
		case e := <-w.ResultChan():
			if o, ok := e.Object.(*corev1.ConfigMap); e.Type != want || !ok || o.Name != "watched" {
				t.Fatalf("got %s %v, want %s", e.Type, e.Object, want)
			}
		case <-ctx.Done():
			t.Fatalf("no %s event", want)
		}
	}
}

func testInformer(t *testing.T, client kubernetes.Interface, ns string) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(ns))
	lister := factory.Core().V1().Secrets().Lister()
	ctx, cancel := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	defer cancel()
	factory.WaitForCacheSync(ctx.Done())
	if _, err := client.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "seen"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the informer sees the secret", func() (bool, error) {
		_, err := lister.Secrets(ns).Get("seen")
		return err == nil, err
	})
}

func testTable(t *testing.T, client *kubernetes.Clientset, ns string) {
	data, err := client.CoreV1().RESTClient().Get().Namespace(ns).Resource("serviceaccounts").
		SetHeader("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if table.Kind != "Table" || len(table.Rows) != 1 || table.Rows[0].Cells[0] != "default" {
		t.Errorf("got %s", data)
	}
}

func testConflict(t *testing.T, client kubernetes.Interface, ns string) {
	ctx := t.Context()
	d := client.AppsV1().Deployments(ns)
	config := deployment("conflict")
	config.Namespace = &ns
	old, err := d.Apply(ctx, config, metav1.ApplyOptions{FieldManager: "test"})
	if err != nil {
		t.Fatal(err)
	}
	changed := old.DeepCopy()
	changed.Spec.Replicas = new(int32)
	if _, err := d.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	old.Spec.Paused = true
	if _, err := d.Update(ctx, old, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
	bad := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}
	if _, err := d.Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an empty deployment: %v", err)
	}
	if _, err := d.Get(ctx, "absent", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an absent deployment: %v", err)
	}
}

func testDiscovery(t *testing.T, client kubernetes.Interface) {
	groups, resources, err := client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, l := range resources {
		for _, r := range l.APIResources {
			found[l.GroupVersion+"/"+r.Name] = true
		}
	}
	for _, want := range []string{"v1/pods", "v1/pods/exec", "apps/v1/deployments", "apps/v1/deployments/scale", "apiextensions.k8s.io/v1/customresourcedefinitions", "apiregistration.k8s.io/v1/apiservices"} {
		if !found[want] {
			t.Errorf("discovery lacks %s", want)
		}
	}
	if len(groups) < 10 {
		t.Errorf("%d groups", len(groups))
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil || version.GitVersion != "v1.37.2+skiff.test" || version.Major != "1" || version.Minor != "37" {
		t.Errorf("version %+v, %v", version, err)
	}
}

// testEndpoints asks what is not a resource, in each of its forms.
func testEndpoints(t *testing.T, s *env.Server) {
	client, err := rest.HTTPClientFor(s.Remote("kubernetes-admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, accept, want string }{
		{"/healthz", "", "ok"},
		{"/livez?verbose", "", "[+]etcd ok"},
		{"/readyz?verbose", "", "[+]poststarthook/rbac/bootstrap-roles ok"},
		{"/metrics", "", "apiserver_request_total"},
		{"/version", "", `"gitVersion": "v1.37.2+skiff.test"`},
		{"/", "", "/openid/v1/jwks"},
		{"/openapi/v2", "", "io.k8s.api.apps.v1.Deployment"},
		{"/openapi/v3", "", "apis/apps/v1"},
		{"/openapi/v3/apis/apps/v1", "", "io.k8s.api.apps.v1.Deployment"},
		{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", `"kind":"APIGroupDiscoveryList"`},
		{"/api", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", `"resource":"pods"`},
		{"/apis", "application/json", `"kind":"APIGroupList"`},
		{"/.well-known/openid-configuration", "", `"issuer":"https://kubernetes.default.svc.cluster.local"`},
		{"/openid/v1/jwks", "", `"crv":"P-256"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c.accept != "" {
			req.Header.Set("Accept", c.accept)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d, %v, lacks %q: %.300s", c.path, resp.StatusCode, err, c.want, body)
		}
	}
}

func testSystemObjects(t *testing.T, s *env.Server) {
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Admin())
	for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		if _, err := client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	svc, err := client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || svc.Spec.ClusterIP != "10.96.0.1" {
		t.Errorf("kubernetes service: %v, %v", svc.Spec.ClusterIP, err)
	}
	cm, err := client.CoreV1().ConfigMaps("kube-system").Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil || !strings.Contains(cm.Data["client-ca-file"], "BEGIN CERTIFICATE") || cm.Data["requestheader-allowed-names"] != `["front-proxy-client"]` {
		t.Errorf("extension authentication: %v, %v", cm.Data, err)
	}
	pc, err := client.SchedulingV1().PriorityClasses().Get(ctx, "system-node-critical", metav1.GetOptions{})
	if err != nil || pc.Value != 2000001000 {
		t.Errorf("priority class: %v, %v", pc.Value, err)
	}
	roles, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/bootstrapping=rbac-defaults"})
	if err != nil || len(roles.Items) < 70 {
		t.Errorf("%d default cluster roles, %v", len(roles.Items), err)
	}
}
