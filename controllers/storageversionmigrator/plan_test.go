package storageversionmigrator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apply "k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func migration(name string, age time.Duration, version string, holds ...migrationv1.MigrationConditionType) *Migration {
	m := &Migration{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start.Add(-age))}}
	m.Status.ResourceVersion = version
	for _, kind := range holds {
		m.Status.Conditions = append(m.Status.Conditions, condition(kind, "r", "m"))
	}
	return m
}

func TestNext(t *testing.T) {
	const running, succeeded, failed = migrationv1.MigrationRunning, migrationv1.MigrationSucceeded, migrationv1.MigrationFailed
	for _, c := range []struct {
		name string
		all  []*Migration
		step Step
		of   string
	}{
		{"nothing", nil, Rest, ""},
		{"one waits", []*Migration{migration("a", 0, "")}, Start, "a"},
		{"the oldest first", []*Migration{migration("a", 0, ""), migration("b", time.Hour, ""), migration("c", time.Minute, "")}, Start, "b"},
		{"of one age by name", []*Migration{migration("b", 0, ""), migration("a", 0, ""), migration("c", 0, "")}, Start, "a"},
		{"one runs", []*Migration{migration("a", time.Hour, ""), migration("b", 0, "", running)}, Checkpoint, "b"},
		{"one is on its way", []*Migration{migration("a", time.Hour, ""), migration("b", 0, "5", running)}, Rewrite, "b"},
		{"one has succeeded", []*Migration{migration("a", time.Hour, ""), migration("b", 0, "5", running, succeeded)}, Finish, "b"},
		{"one has failed", []*Migration{migration("a", time.Hour, ""), migration("b", 0, "", running, failed)}, Finish, "b"},
		{"after another", []*Migration{migration("a", time.Hour, "5", succeeded), migration("b", 0, "")}, Start, "b"},
		{"all have ended", []*Migration{migration("a", time.Hour, "5", succeeded), migration("b", 0, "", failed)}, Rest, ""},
		{"two run", []*Migration{migration("a", 0, "4", running), migration("b", time.Hour, "5", running)}, Rewrite, "b"},
	} {
		step, m := Next(c.all)
		if step != c.step || (m == nil) != (c.of == "") || (m != nil && m.Name != c.of) {
			t.Errorf("%s: step %d of %v", c.name, step, m)
		}
	}
}

func TestConditions(t *testing.T) {
	now, wrong := start.Add(time.Hour), errors.New("wrong")
	fresh := migration("a", 0, "")
	started := Started(fresh, start)
	for _, c := range []struct {
		name string
		m    *Migration
		want []string
	}{
		{"started", started, []string{"Running True MigrationRunning: The migration is running"}},
		{"interrupted", Interrupted(started, Progress{}, wrong, now), []string{"Running True MigrationRunning: The migration is running; transient error: wrong"}},
		{"interrupted on its way", Interrupted(started, Progress{2, 3}, wrong, now),
			[]string{"Running True MigrationRunning: The migration is running, 2/3 objects not yet migrated; transient error: wrong"}},
		{"succeeded", Succeeded(started, Progress{0, 3}, now), []string{
			"Running True MigrationRunning: The migration is running, 3 objects verified migrated",
			"Succeeded True StorageVersionMigrationSucceeded: Migration completed",
		}},
		{"succeeded without objects", Succeeded(started, Progress{}, now), []string{
			"Running True MigrationRunning: The migration is running", "Succeeded True StorageVersionMigrationSucceeded: Migration completed",
		}},
		{"refused", Refused(started, "no such", now), []string{
			"Running True MigrationRunning: The migration is running", "Failed True StorageVersionMigrationFailed: no such",
		}},
		{"failed", Failed(started, wrong, now), []string{
			"Running True MigrationRunning: The migration is running",
			"Failed True StorageVersionMigrationFailed: migration encountered unhandled error: wrong",
		}},
		{"failed on its way", FailedAt(started, Progress{2, 3}, wrong, now), []string{
			"Running True MigrationRunning: The migration is running, 2/3 objects not yet migrated",
			"Failed True StorageVersionMigrationFailed: 2/3 not yet migrated. migration encountered unhandled error: wrong",
		}},
		{"finished", Finished(started, now), []string{"Running False MigrationCompleted: Migration completed"}},
	} {
		var got []string
		for _, cond := range c.m.Status.Conditions {
			got = append(got, fmt.Sprintf("%s %s %s: %s", cond.Type, cond.Status, cond.Reason, cond.Message))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if len(fresh.Status.Conditions) > 0 || Checkpointed(fresh, "7").Status.ResourceVersion != "7" || fresh.Status.ResourceVersion != "" {
		t.Error("the cached migration was changed")
	}
	if at := Succeeded(started, Progress{}, now).Status.Conditions; !at[0].LastTransitionTime.Time.Equal(start) || !at[1].LastTransitionTime.Time.Equal(now) {
		t.Errorf("times %v", at)
	}
}

func TestOld(t *testing.T) {
	objects := []Object{{"", "a", "9"}, {"", "b", "10"}, {"", "c", "11"}, {"", "d", "100"}}
	if old, err := Old(objects, "10"); err != nil || !slices.Equal(old, objects[:2]) {
		t.Errorf("%v, %v", old, err)
	}
	if _, err := Old([]Object{{"", "a", "x"}}, "10"); err == nil {
		t.Error("a version that is no number is compared")
	}
}

func TestFind(t *testing.T) {
	group := func(name string, versions ...string) *metav1.APIGroup {
		g := &metav1.APIGroup{Name: name, PreferredVersion: metav1.GroupVersionForDiscovery{Version: versions[0]}}
		for _, v := range versions {
			g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{Version: v})
		}
		return g
	}
	list := func(gv string, verbs []string, names ...string) *metav1.APIResourceList {
		l := &metav1.APIResourceList{GroupVersion: gv}
		for _, n := range names {
			l.APIResources = append(l.APIResources, metav1.APIResource{Name: n, Kind: "K", Verbs: verbs})
		}
		return l
	}
	groups := []*metav1.APIGroup{group("", "v1"), group("g", "v2", "v1"), group("other", "v1")}
	lists := []*metav1.APIResourceList{
		list("v1", needed(), "pods", "pods/status"), list("g/v1", needed(), "things", "olds"), list("g/v2", []string{"list", "get", "patch"}, "things"), list("other/v1", needed(), "things"),
	}
	for _, c := range []struct{ group, resource, want, refused string }{
		{"", "pods", "v1", ""},
		{"g", "things", "g/v2", `resource "g/v2, Resource=things" does not support discovery operations: [update patch list]`},
		{"g", "olds", "g/v1", ""},
		{"other", "things", "other/v1", ""},
		{"g", "pods", "", ""},
		{"h", "things", "", ""},
	} {
		kind, ok := Find(groups, lists, metav1.GroupResource{Group: c.group, Resource: c.resource})
		if ok != (c.want != "") {
			t.Errorf("%s.%s: %v", c.resource, c.group, kind)
			continue
		}
		if !ok {
			continue
		}
		if kind.GVR.GroupVersion().String() != c.want || kind.GVK.GroupVersion() != kind.GVR.GroupVersion() || kind.GVR.Resource != c.resource || kind.GVK.Kind != "K" {
			t.Errorf("%s.%s: %v", c.resource, c.group, kind)
		}
		if err := kind.Migratable(); fmt.Sprint(err) != c.refused && (err != nil || c.refused != "") {
			t.Errorf("%s.%s: %v", c.resource, c.group, err)
		}
	}
}

func TestPassing(t *testing.T) {
	what := schema.GroupResource{Resource: "things"}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errors.New("connection refused"), true},
		{apierrors.NewTooManyRequests("busy", 1), true},
		{apierrors.NewInternalError(errors.New("x")), true},
		{apierrors.NewServiceUnavailable("x"), true},
		{apierrors.NewTimeoutError("x", 1), true},
		{apierrors.NewServerTimeout(what, "patch", 1), true},
		{apierrors.NewGenericServerResponse(http.StatusInternalServerError, "patch", what, "a", "x", 0, true), true},
		{apierrors.NewForbidden(what, "a", errors.New("x")), false},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "Thing"}, "a", nil), false},
		{apierrors.NewBadRequest("x"), false},
	} {
		if got := Passing(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestDefinition(t *testing.T) {
	d := &Definition{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1"}, {Name: "v2", Storage: true}}
	d.Status.StoredVersions = []string{"v1", "v2"}
	began := func(generation int64) *Definition {
		d := d.DeepCopy()
		d.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.StorageMigrating, ObservedGeneration: generation}}
		return d
	}
	for _, c := range []struct {
		name, got, want string
	}{
		{"began", told(Migrating(d, "m", start)), "True MigrationRunning: Migration m is running 3 [v1 v2]"},
		{"succeeded", told(Migrated(began(3), true, start)), "False MigrationSucceeded: The migration has succeeded and the stored versions have been updated 3 [v2]"},
		{"changed", told(Migrated(began(2), true, start)), "False MigrationSucceeded: The migration has succeeded but the stored versions have not been updated due to a generation mismatch 3 [v1 v2]"},
		{"made anew", told(Migrated(d, true, start)), "False MigrationSucceeded: The migration has succeeded but the stored versions have not been updated due to a generation mismatch 3 [v1 v2]"},
		{"failed", told(Migrated(began(3), false, start)), "False MigrationFailed: The migration has failed 3 [v1 v2]"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.name, c.got, c.want)
		}
	}
}

func TestTurned(t *testing.T) {
	m := migration("a", 0, "")
	m.UID, m.Spec.Resource = "1", metav1.GroupResource{Group: "g", Resource: "things"}
	running, remade := Started(m, start), m.DeepCopy()
	remade.UID = "2"
	for _, c := range []struct {
		name          string
		before, after *Migration
		want          int
	}{
		{"made", nil, m, 1}, {"gone", m, nil, 1}, {"begun", m, running, 1}, {"made again", m, remade, 1},
		{"told", running, Interrupted(running, Progress{1, 2}, errors.New("x"), start), 0},
		{"at a version", running, Checkpointed(running, "4"), 1}, {"finished", running, Finished(running, start), 1},
	} {
		var before, after metav1.Object
		if c.before != nil {
			before = c.before
		}
		if c.after != nil {
			after = c.after
		}
		keys := turned(before, after)
		if len(keys) != c.want || (c.want == 1 && keys[0].String() != "g/things") {
			t.Errorf("%s: %v", c.name, keys)
		}
	}
}

func told(s *apply.CustomResourceDefinitionStatusApplyConfiguration) string {
	c := s.Conditions[0]
	return fmt.Sprintf("%s %s: %s %d %v", *c.Status, *c.Reason, *c.Message, *c.ObservedGeneration, s.StoredVersions)
}
