package controllers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	migrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"

	"skiff/apis/server"
	"skiff/controllers"
	"skiff/test/env"
)

// gadgets is a custom resource whose storage version changes.
type gadgets struct {
	*cluster
	definitions *apiextensions.Clientset
	objects     dynamic.NamespaceableResourceInterface
}

func (c *cluster) gadgets() *gadgets {
	c.t.Helper()
	g := &gadgets{c, apiextensions.NewForConfigOrDie(c.server.Admin()), dynamic.NewForConfigOrDie(c.server.Admin()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gadgets"})}
	yes := true
	version := func(name string, stored bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Storage: stored, Schema: &apiextensionsv1.CustomResourceValidation{
			OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &yes},
		}}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gadgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "gadgets", Kind: "Gadget"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false), version("v3", false)},
		},
	}
	if _, err := g.definitions.ApiextensionsV1().CustomResourceDefinitions().Create(c.t.Context(), crd, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	return g
}

// make creates gadgets, in time when they are served.
func (g *gadgets) make(names ...string) {
	g.t.Helper()
	for _, name := range names {
		g.eventually("gadget "+name, func(ctx context.Context) string {
			_, err := g.objects.Namespace("default").Create(ctx, &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": map[string]any{"name": name},
			}}, metav1.CreateOptions{})
			if err != nil {
				return err.Error()
			}
			return ""
		})
	}
}

// store makes version the one that gadgets are stored in, and waits until the server stores probe so.
func (g *gadgets) store(version, probe string) {
	g.t.Helper()
	g.eventually("storage in "+version, func(ctx context.Context) string {
		crds := g.definitions.ApiextensionsV1().CustomResourceDefinitions()
		crd, err := crds.Get(ctx, "gadgets.example.com", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Storage = crd.Spec.Versions[i].Name == version
		}
		if _, err := crds.Update(ctx, crd, metav1.UpdateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	g.eventually("a gadget in "+version, func(ctx context.Context) string {
		kind, patch := merge(fmt.Sprintf(`{"probe":%q}`, time.Now()))
		if _, err := g.objects.Namespace("default").Patch(ctx, probe, kind, patch, metav1.PatchOptions{}); err != nil {
			return err.Error()
		}
		if got := g.stored(probe); got != version {
			return got
		}
		return ""
	})
}

// stored answers the version that the object is stored in.
func (g *gadgets) stored(name string) string {
	g.t.Helper()
	got, err := g.server.Etcd.Client.KV.Get(g.t.Context(), "/registry/example.com/gadgets/default/"+name)
	if err != nil || len(got.Kvs) != 1 {
		g.t.Fatalf("%s: %v, %v", name, got, err)
	}
	_, rest, _ := strings.Cut(string(got.Kvs[0].Value), `"apiVersion":"example.com/`)
	version, _, _ := strings.Cut(rest, `"`)
	return version
}

// definition answers the stored versions and what the definition says of migrations.
func (g *gadgets) definition() (stored []string, migrating string) {
	g.t.Helper()
	crd, err := g.definitions.ApiextensionsV1().CustomResourceDefinitions().Get(g.t.Context(), "gadgets.example.com", metav1.GetOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, cond := range crd.Status.Conditions {
		if cond.Type == apiextensionsv1.StorageMigrating {
			migrating = fmt.Sprintf("%s %s: %s", cond.Status, cond.Reason, cond.Message)
		}
	}
	return crd.Status.StoredVersions, migrating
}

func (c *cluster) migrate(name, group, resource string) {
	c.t.Helper()
	m := &migrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: migrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: group, Resource: resource}}}
	if _, err := c.client.StoragemigrationV1().StorageVersionMigrations().Create(c.t.Context(), m, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// migrated waits until the migration has run, and wants it to have ended so.
func (c *cluster) migrated(name string, want ...string) *migrationv1.StorageVersionMigration {
	c.t.Helper()
	var m *migrationv1.StorageVersionMigration
	c.eventually("end of migration "+name, func(ctx context.Context) (problem string) {
		var err error
		if m, err = c.client.StoragemigrationV1().StorageVersionMigrations().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		if !meta.IsStatusConditionFalse(m.Status.Conditions, string(migrationv1.MigrationRunning)) {
			return fmt.Sprintf("%+v", m.Status)
		}
		return ""
	})
	var got []string
	for _, cond := range m.Status.Conditions {
		got = append(got, fmt.Sprintf("%s %s %s: %s", cond.Type, cond.Status, cond.Reason, cond.Message))
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("migration %s:\n%q, want\n%q", name, got, want)
	}
	return m
}

const (
	hasRun       = "Running False MigrationCompleted: Migration completed"
	hasSucceeded = "Succeeded True StorageVersionMigrationSucceeded: Migration completed"
	updated      = "False MigrationSucceeded: The migration has succeeded and the stored versions have been updated"
)

// TestStorageVersionMigrationStory moves the objects of a custom resource to another version, and again, so that the
// first one need be served no more.
func TestStorageVersionMigrationStory(t *testing.T) {
	c := newCluster(t)
	g := c.gadgets()
	g.make("probe", "a", "b")
	g.store("v2", "probe")
	if a, b := g.stored("a"), g.stored("b"); a != "v1" || b != "v1" {
		t.Fatalf("stored in %s and %s", a, b)
	}
	probe, err := g.objects.Namespace("default").Get(t.Context(), "probe", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.migrate("first", "example.com", "gadgets")
	if m := c.migrated("first", hasRun, hasSucceeded); m.Status.ResourceVersion == "" {
		t.Error("the migration began at no version")
	}
	if a, b := g.stored("a"), g.stored("b"); a != "v2" || b != "v2" {
		t.Errorf("stored in %s and %s", a, b)
	}
	if stored, migrating := g.definition(); !slices.Equal(stored, []string{"v2"}) || migrating != updated {
		t.Errorf("definition: %v, %s", stored, migrating)
	}
	again, err := g.objects.Namespace("default").Get(t.Context(), "probe", metav1.GetOptions{})
	if err != nil || again.GetResourceVersion() != probe.GetResourceVersion() {
		t.Errorf("what is stored as it should be was written: %s, %s, %v", probe.GetResourceVersion(), again.GetResourceVersion(), err)
	}

	// Two for the same resource take turns; the versions stay those that objects are stored in.
	c.migrate("second", "example.com", "gadgets")
	c.migrate("third", "example.com", "gadgets")
	c.migrated("second", hasRun, hasSucceeded)
	c.migrated("third", hasRun, hasSucceeded)
	if stored, migrating := g.definition(); !slices.Equal(stored, []string{"v2"}) || migrating != updated {
		t.Errorf("definition after another: %v, %s", stored, migrating)
	}
	g.store("v3", "probe")
	c.migrate("fourth", "example.com", "gadgets")
	c.migrated("fourth", hasRun, hasSucceeded)
	if stored, _ := g.definition(); !slices.Equal(stored, []string{"v3"}) || g.stored("a") != "v3" {
		t.Errorf("at last: %v, %s", stored, g.stored("a"))
	}
	c.migrate("secrets", "", "secrets")
	c.migrated("secrets", hasRun, hasSucceeded)
	c.migrate("impossible", "", "componentstatuses")
	c.migrated("impossible", hasRun, `Failed True StorageVersionMigrationFailed: resource "/v1, Resource=componentstatuses" does not support discovery operations: [update patch list]`)
}

// TestFailedStorageVersionMigration lets a policy refuse that an object is written: versions that it may be stored in
// must not be forgotten.
func TestFailedStorageVersionMigration(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	g := c.gadgets()
	g.make("probe", "rigid")
	g.store("v2", "probe")
	c.migrate("accepted", "example.com", "gadgets")
	c.migrated("accepted", hasRun, hasSucceeded)
	g.store("v3", "probe")
	policies := c.client.AdmissionregistrationV1()
	if _, err := policies.ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "rigid"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{"UPDATE"}, Rule: admissionv1.Rule{APIGroups: []string{"example.com"}, APIVersions: []string{"*"}, Resources: []string{"gadgets"}},
			}}}},
			Validations: []admissionv1.Validation{{Expression: "object.metadata.name != 'rigid'", Message: "it is rigid"}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "rigid"},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "rigid", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("policy", func(ctx context.Context) string {
		kind, patch := merge(`{"metadata":{"labels":{"a":"b"}}}`)
		_, err := g.objects.Namespace("default").Patch(ctx, "rigid", kind, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return "it does not hold yet"
		}
		return ""
	})
	c.migrate("refused", "example.com", "gadgets")
	c.migrated("refused", hasRun, `Failed True StorageVersionMigrationFailed: 1/2 not yet migrated. migration encountered unhandled error: `+
		`gadgets.example.com "rigid" is forbidden: ValidatingAdmissionPolicy 'rigid' with binding 'rigid' denied request: it is rigid`)
	if stored, migrating := g.definition(); !slices.Equal(stored, []string{"v2", "v3"}) || migrating != "False MigrationFailed: The migration has failed" || g.stored("rigid") != "v2" {
		t.Errorf("definition: %v, %s; %s", stored, migrating, g.stored("rigid"))
	}
}

// TestMigrationOfEverything has each resource that the server stores written again: none refuses what does not change,
// roles with more rights than the controller's included.
func TestMigrationOfEverything(t *testing.T) {
	c := newCluster(t)
	lists, err := c.client.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("a service account", func(ctx context.Context) string { // one of the last objects to come
		if _, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	var names []string
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			if slices.Contains(r.Verbs, "update") && slices.Contains(r.Verbs, "patch") && slices.Contains(r.Verbs, "list") {
				name := strings.TrimSuffix(r.Name+"."+gv.Group, ".")
				names = append(names, name)
				c.migrate(name, gv.Group, r.Name)
			}
		}
	}
	if len(names) < 50 {
		t.Errorf("%d resources", len(names))
	}
	for _, name := range names {
		c.migrated(name, hasRun, hasSucceeded)
	}
}

// TestEncryptingMigration encrypts the secrets that a server without a key has left.
func TestEncryptingMigration(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	plain := newServer(t, env.Options{Dir: dir})
	if _, err := plain.client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "whisper"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	plain.server.Stop()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	const keys = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n" +
		"  - secretbox: {keys: [{name: one, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}\n  - identity: {}\n"
	if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newServer(t, env.Options{Dir: dir, Configure: func(c *server.Config) { c.Encryption.ConfigFile = file }})
	stored := func() string {
		got, err := c.server.Etcd.Client.KV.Get(ctx, "/registry/secrets/default/s")
		if err != nil || len(got.Kvs) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		return string(got.Kvs[0].Value)
	}
	if !strings.Contains(stored(), "whisper") {
		t.Fatal("the secret was encrypted before")
	}
	c.control(func(*controllers.Deps) {})
	c.migrate("secrets", "", "secrets")
	c.migrated("secrets", hasRun, hasSucceeded)
	if got := stored(); !strings.HasPrefix(got, "k8s:enc:secretbox:v1:one:") || strings.Contains(got, "whisper") {
		t.Errorf("stored as %q", got[:min(len(got), 60)])
	}
	secret, err := c.client.CoreV1().Secrets("default").Get(ctx, "s", metav1.GetOptions{})
	if err != nil || string(secret.Data["k"]) != "whisper" {
		t.Errorf("%v, %v", secret, err)
	}
}

// later is a clock that is two minutes ahead.
type later struct{ clock.RealClock }

func (later) Now() time.Time                    { return time.Now().Add(2 * time.Minute) }
func (l later) Since(t time.Time) time.Duration { return l.Now().Sub(t) }

// TestInterruptedStorageVersionMigration starts controllers that find a migration on its way, one that waits for it, and
// one of a resource that is not served.
func TestInterruptedStorageVersionMigration(t *testing.T) {
	c := newServer(t, env.Options{})
	ctx := t.Context()
	g := c.gadgets()
	g.make("probe", "old", "new")
	g.store("v2", "probe")
	list, err := g.objects.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kind, patch := merge(`{"some":"body"}`)
	if _, err := g.objects.Namespace("default").Patch(ctx, "new", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.migrate("interrupted", "example.com", "gadgets")
	_, patch = merge(fmt.Sprintf(`{"status":{"resourceVersion":%q,"conditions":[{"type":"Running","status":"True","reason":"MigrationRunning","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, list.GetResourceVersion()))
	if _, err := c.client.StoragemigrationV1().StorageVersionMigrations().Patch(ctx, "interrupted", kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	c.migrate("patient", "example.com", "gadgets")
	c.migrate("unknown", "example.com", "widgets")
	c.control(func(deps *controllers.Deps) { deps.Clock = later{} })
	m := c.migrated("interrupted", hasRun, hasSucceeded)
	if m.Status.ResourceVersion != list.GetResourceVersion() || g.stored("old") != "v2" {
		t.Errorf("it began anew: %+v; stored in %s", m.Status, g.stored("old"))
	}
	c.migrated("patient", hasRun, hasSucceeded)
	if stored, migrating := g.definition(); !slices.Equal(stored, []string{"v2"}) || migrating != updated {
		t.Errorf("definition: %v, %s", stored, migrating)
	}
	c.migrated("unknown", hasRun, "Failed True StorageVersionMigrationFailed: resource does not exist in discovery")
}
