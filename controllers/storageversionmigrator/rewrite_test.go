package storageversionmigrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"

	"skiff/controllers/internal/controller"
)

// things are objects that a server lists two by two, and what it answers to patches of them.
type things struct {
	metadata.Getter
	objects []metav1.PartialObjectMetadata
	answers map[string]error
	patched []string
}

func (s *things) Resource(schema.GroupVersionResource) metadata.Getter { return s }
func (s *things) Namespace(string) metadata.ResourceInterface          { return s }

func (s *things) List(_ context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	if err := s.answers["list"]; err != nil {
		return nil, err
	}
	first := 0
	if o.Continue != "" {
		if _, err := fmt.Sscan(o.Continue, &first); err != nil {
			return nil, err
		}
	}
	list := &metav1.PartialObjectMetadataList{Items: s.objects[first:min(first+2, len(s.objects))]}
	if first+2 < len(s.objects) {
		list.Continue = fmt.Sprint(first + 2)
	}
	return list, nil
}

func (s *things) Patch(_ context.Context, name string, _ types.PatchType, data []byte, o metav1.PatchOptions, _ ...string) (*metav1.PartialObjectMetadata, error) {
	s.patched = append(s.patched, name+" "+string(data)+" by "+o.FieldManager)
	return nil, s.answers[name]
}

// migrating is a controller at a migration of things that are older than version 10.
func migrating(t *testing.T, answers map[string]error) (*reconciler, *things, *Migration) {
	t.Helper()
	s := &things{answers: answers}
	for i, name := range []string{"a", "b", "c", "d"} {
		s.objects = append(s.objects, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, ResourceVersion: fmt.Sprint(8 + i)}})
	}
	m := Checkpointed(Started(migration("m", 0, ""), start), "10")
	m.Spec.Resource = metav1.GroupResource{Group: "example.com", Resource: "things"}
	client := fake.NewClientset(m)
	served, ok := client.Discovery().(*fakediscovery.FakeDiscovery)
	if !ok {
		t.Fatal("another discovery")
	}
	served.Resources = []*metav1.APIResourceList{{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "things", Kind: "Thing", Verbs: needed()}}}}
	migrations := informers.NewSharedInformerFactory(client, 0).Storagemigration().V1().StorageVersionMigrations()
	return &reconciler{env: controller.Env{Client: client, Clock: clock.RealClock{}}, objects: s, migrations: migrations.Lister(), store: migrations.Informer().GetIndexer()}, s, m
}

func TestRewrite(t *testing.T) {
	what := schema.GroupResource{Group: "example.com", Resource: "things"}
	gone, changed := apierrors.NewNotFound(what, "a"), apierrors.NewConflict(what, "b", errors.New("changed"))
	const running = "The migration is running"
	for _, c := range []struct {
		name    string
		answers map[string]error
		running string
		ended   migrationv1.MigrationConditionType
		message string
		patched int
		again   time.Duration
		err     bool
	}{
		{name: "all is well", running: running + ", 4 objects verified migrated", ended: migrationv1.MigrationSucceeded, message: "Migration completed", patched: 3},
		{name: "others were faster", answers: map[string]error{"a": gone, "b": changed}, running: running + ", 4 objects verified migrated", ended: migrationv1.MigrationSucceeded, message: "Migration completed", patched: 3},
		{name: "busy", answers: map[string]error{"b": apierrors.NewTooManyRequests("busy", 7)}, running: running + ", 2/4 objects not yet migrated; transient error: busy", patched: 2, again: 7 * time.Second},
		{name: "broken", answers: map[string]error{"b": errors.New("connection refused")}, running: running + ", 2/4 objects not yet migrated; transient error: connection refused", patched: 2, err: true},
		{name: "not listed", answers: map[string]error{"list": errors.New("connection refused")}, running: running + "; transient error: listing example.com/v1, Resource=things: connection refused", err: true},
		{
			name: "refused", answers: map[string]error{"c": apierrors.NewForbidden(what, "c", errors.New("no"))}, running: running + ", 1/4 objects not yet migrated",
			ended: migrationv1.MigrationFailed, message: `1/4 not yet migrated. migration encountered unhandled error: things.example.com "c" is forbidden: no`, patched: 3,
		},
	} {
		r, s, m := migrating(t, c.answers)
		result, err := r.rewrite(t.Context(), controller.Key{Namespace: "example.com", Name: "things"}, m)
		if (err != nil) != c.err || result.RequeueAfter != c.again || len(s.patched) != c.patched {
			t.Errorf("%s: %v, %v, patched %q", c.name, result, err, s.patched)
		}
		got, err := r.env.Client.StoragemigrationV1().StorageVersionMigrations().Get(t.Context(), "m", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if cond := meta.FindStatusCondition(got.Status.Conditions, "Running"); cond.Status != metav1.ConditionTrue || cond.Message != c.running {
			t.Errorf("%s: %+v", c.name, cond)
		}
		if ended(got) != (c.ended != "") || (c.ended != "" && meta.FindStatusCondition(got.Status.Conditions, string(c.ended)).Message != c.message) {
			t.Errorf("%s: %+v", c.name, got.Status.Conditions)
		}
		if first := `a {"apiVersion":"example.com/v1","kind":"Thing","metadata":{"resourceVersion":"8"}} by storage-version-migrator-controller`; c.patched > 0 && !slices.Contains(s.patched, first) {
			t.Errorf("%s: patched %q", c.name, s.patched)
		}
	}
}

// TestRewriteEnds leaves a migration as it is when the process ends: the next one goes on.
func TestRewriteEnds(t *testing.T) {
	r, _, m := migrating(t, map[string]error{"b": context.Canceled})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.rewrite(ctx, controller.Key{}, m); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	got, err := r.env.Client.StoragemigrationV1().StorageVersionMigrations().Get(t.Context(), "m", metav1.GetOptions{})
	if err != nil || ended(got) || got.Status.Conditions[0].Message != "The migration is running" {
		t.Errorf("%+v, %v", got.Status, err)
	}
}

// TestMissing waits a minute for a resource that is not served.
func TestMissing(t *testing.T) {
	r, _, m := migrating(t, nil)
	m.Spec.Resource.Resource = "others"
	m.CreationTimestamp = metav1.Now()
	key := controller.Key{Namespace: "example.com", Name: "others"}
	for name, step := range map[string]func(context.Context, controller.Key, *Migration) (controller.Result, error){"checkpoint": r.checkpoint, "rewrite": r.rewrite} {
		if result, err := step(t.Context(), key, m); err != nil || result.RequeueAfter != again {
			t.Errorf("%s: %v, %v", name, result, err)
		}
	}
	m.CreationTimestamp = metav1.NewTime(time.Now().Add(-patience - time.Second))
	for _, c := range []struct {
		step func(context.Context, controller.Key, *Migration) (controller.Result, error)
		want string
	}{
		{r.checkpoint, "resource does not exist in discovery"}, {r.rewrite, "migration encountered unhandled error: unable to obtain GVR from discovery"},
	} {
		if result, err := c.step(t.Context(), key, m); err != nil || result.RequeueAfter > 0 {
			t.Errorf("%v, %v", result, err)
		}
		got, err := r.env.Client.StoragemigrationV1().StorageVersionMigrations().Get(t.Context(), "m", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if cond := meta.FindStatusCondition(got.Status.Conditions, "Failed"); cond == nil || cond.Message != c.want || cond.Reason != "StorageVersionMigrationFailed" {
			t.Errorf("%+v, want %s", cond, c.want)
		}
	}
}
