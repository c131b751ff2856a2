package policy

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// quiet is an enforcer that doesn't run: the test puts objects into its caches and has it read.
type quiet struct {
	*Enforcer
	t       *testing.T
	factory informers.SharedInformerFactory
}

func newQuiet(t *testing.T, objs ...any) *quiet {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	e, err := New(Config{
		Table: testTable, NodeName: testNode, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
	}, Deps{Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	fill(e.book, objs...)
	return &quiet{Enforcer: e, t: t, factory: factory}
}

// set has the API have the pod.
func (q *quiet) set(p *corev1.Pod) {
	q.t.Helper()
	if err := q.factory.Core().V1().Pods().Informer().GetStore().Add(p); err != nil {
		q.t.Fatal(err)
	}
	q.dirty.add(object{kind: "pod", at: nameOf(p)})
}

// gone has the API forget the pod.
func (q *quiet) gone(p *corev1.Pod) {
	q.t.Helper()
	if err := q.factory.Core().V1().Pods().Informer().GetStore().Delete(p); err != nil {
		q.t.Fatal(err)
	}
	q.dirty.add(object{kind: "pod", at: nameOf(p)})
}

func (q *quiet) check(what, connection string, want bool) {
	q.t.Helper()
	q.read()
	if got := allowed(q.t, q.book.Content(), connection); got != want {
		q.t.Errorf("%s: %s: allowed %v", what, connection, got)
	}
}

const denyWeb = "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress, Egress]"

// TestPodOutlivesItsObject: who deletes a pod by force doesn't free it of policies while it still runs.
func TestPodOutlivesItsObject(t *testing.T) {
	q := newQuiet(t, policies(t, denyWeb)...)
	web := newTestPod("default/web", testNode, "app=web", "10.244.0.11")
	q.set(web)
	q.Hold(web, []string{"10.244.0.11"})
	q.check("running", "web -> outside tcp 443", false)
	q.gone(web)
	q.check("deleted by force", "web -> outside tcp 443", false)

	again := newTestPod("default/web", testNode, "app=free", "10.244.0.12")
	again.UID = "again"
	q.set(again)
	q.Hold(again, []string{"10.244.0.12"})
	q.check("another pod of the name", "web -> outside tcp 443", false)
	q.check("another pod of the name", "db -> outside tcp 443", true)
	q.Hold(web, []string{"10.244.0.11"})
	q.check("the old one is heard of again", "db -> outside tcp 443", true)

	q.Release(web)
	q.check("its end", "web -> outside tcp 443", true)
	q.gone(again)
	q.Release(again)
	q.read()
	if len(q.book.pods) > 0 || len(q.leases) > 0 || !q.book.Content().Empty() {
		t.Errorf("left: %v, %v", q.book.pods, q.leases)
	}
}

// TestLaterLeaseHolds: an address belongs to the pod that the node gave it last, however old that pod is and whatever the
// API still says of others, as after the node's restart.
func TestLaterLeaseHolds(t *testing.T) {
	q := newQuiet(t, policies(t, denyWeb)...)
	web := newTestPod("default/web", testNode, "app=web", "10.244.0.99")
	stale := newTestPod("default/stale", testNode, "app=free", "10.244.0.11")
	stale.CreationTimestamp.Time = stale.CreationTimestamp.AddDate(2000, 0, 0)
	q.set(web)
	q.set(stale)
	q.check("by age", "web -> outside tcp 443", true)
	q.Hold(web, []string{"10.244.0.11"})
	q.check("by the node's word", "web -> outside tcp 443", false)
	q.Hold(stale, []string{"10.244.0.11"})
	q.check("given to the other since", "web -> outside tcp 443", true)
	q.Hold(web, []string{"10.244.0.11"})
	q.check("and back", "web -> outside tcp 443", false)
}

// TestLeaseBeforeAddress: a change of what policies see of a pod matters before the API knows any address of it.
func TestLeaseBeforeAddress(t *testing.T) {
	before, now := newTestPod("default/web", testNode, "app=free", ""), newTestPod("default/web", testNode, "app=web", "")
	if !differs(before, now) {
		t.Error("other labels aren't noticed")
	}
	if differs(now, now.DeepCopy()) {
		t.Error("nothing changed")
	}
	addressed := newTestPod("default/web", testNode, "app=web", "10.244.0.11")
	if !differs(now, addressed) {
		t.Error("an address isn't noticed")
	}
	ended := addressed.DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	if !differs(addressed, ended) {
		t.Error("the end isn't noticed")
	}
	other := addressed.DeepCopy()
	other.UID = types.UID("other")
	if !differs(addressed, other) {
		t.Error("another pod of the name isn't noticed")
	}
}

// TestAdmitNeedsAddress: what can't be judged doesn't start.
func TestAdmitNeedsAddress(t *testing.T) {
	q := newQuiet(t)
	for _, addrs := range [][]string{nil, {""}, {"?"}} {
		if err := q.Admit(t.Context(), newTestPod("default/web", testNode, "", ""), addrs); err == nil {
			t.Errorf("admitted with %q", addrs)
		}
	}
}
