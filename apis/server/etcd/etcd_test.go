package etcd_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff/apis/server/etcd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir string) *etcd.Etcd {
	t.Helper()
	e, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestDataSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	if err := e.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.Client.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := start(t, dir).Client.Client.Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestMasters(t *testing.T) {
	e := start(t, t.TempDir())
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, addr := range []netip.Addr{a, b, a} {
		if _, err := e.Announce(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := e.Masters(t.Context()); err != nil || !slices.Equal(got, []netip.Addr{a, b}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := e.Withdraw(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Masters(t.Context()); err != nil || !slices.Equal(got, []netip.Addr{b}) {
		t.Errorf("after withdrawal %v, %v", got, err)
	}
}

func TestKeys(t *testing.T) {
	for gr, want := range map[schema.GroupResource]string{
		{Resource: "pods"}:                                  "pods",
		{Resource: "nodes"}:                                 "minions",
		{Resource: "services"}:                              "services/specs",
		{Resource: "endpoints"}:                             "services/endpoints",
		{Group: "apps", Resource: "deployments"}:            "deployments",
		{Group: "events.k8s.io", Resource: "events"}:        "events",
		{Group: "networking.k8s.io", Resource: "ingresses"}: "ingress",
	} {
		if got := etcd.BuiltInKey(gr); got != want {
			t.Errorf("%v: %s, want %s", gr, got, want)
		}
	}
	if got := etcd.GroupKey(schema.GroupResource{Group: "example.com", Resource: "widgets"}); got != "example.com/widgets" {
		t.Errorf("custom resource: %s", got)
	}
}

func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		e, err := etcd.Start(b.Context(), etcd.Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
