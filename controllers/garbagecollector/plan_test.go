package garbagecollector

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func ref(uid string, blocking bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Thing", Name: uid, UID: types.UID(uid), BlockOwnerDeletion: &blocking}
}

func object(uid string, change func(*metav1.ObjectMeta), owners ...metav1.OwnerReference) *metav1.ObjectMeta {
	o := &metav1.ObjectMeta{Name: uid, Namespace: "shop", UID: types.UID(uid), OwnerReferences: owners}
	if change != nil {
		change(o)
	}
	return o
}

func identity(uid string) Ref { return Ref{"v1", "Thing", "shop", uid, types.UID(uid)} }

func deleting(finalizers ...string) func(*metav1.ObjectMeta) {
	return func(o *metav1.ObjectMeta) {
		o.DeletionTimestamp, o.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, finalizers
	}
}

func TestJudge(t *testing.T) {
	a, b := ref("a", true), ref("b", true)
	finalizers := func(f ...string) func(*metav1.ObjectMeta) { return func(o *metav1.ObjectMeta) { o.Finalizers = f } }
	tests := []struct {
		name       string
		object     *metav1.ObjectMeta
		states     map[types.UID]OwnerState
		dependents []Node
		want       Verdict
	}{
		{"no owners", object("x", nil), nil, nil, Verdict{Keep: true}},
		{"a solid owner", object("x", nil, a), map[types.UID]OwnerState{"a": Solid}, nil, Verdict{Keep: true}},
		{"one of two is solid", object("x", nil, a, b), map[types.UID]OwnerState{"a": Solid, "b": Absent}, nil, Verdict{Keep: true, Unref: []types.UID{"b"}}},
		{"a waiting one beside a solid one", object("x", nil, a, b), map[types.UID]OwnerState{"a": Solid, "b": Waiting}, nil, Verdict{Keep: true, Unref: []types.UID{"b"}}},
		{"all absent", object("x", nil, a, b), map[types.UID]OwnerState{"a": Absent, "b": Absent}, nil, Verdict{Policy: metav1.DeletePropagationBackground}},
		{"absent, asks for orphans", object("x", finalizers("orphan"), a), map[types.UID]OwnerState{"a": Absent}, nil, Verdict{Policy: metav1.DeletePropagationOrphan}},
		{"absent, asks for foreground", object("x", finalizers("foregroundDeletion"), a), map[types.UID]OwnerState{"a": Absent}, nil, Verdict{Policy: metav1.DeletePropagationForeground}},
		{"waiting, with dependents", object("x", nil, a), map[types.UID]OwnerState{"a": Waiting}, []Node{{}}, Verdict{Policy: metav1.DeletePropagationForeground}},
		{"waiting, in a circle", object("x", nil, a), map[types.UID]OwnerState{"a": Waiting}, []Node{{Foreground: true}}, Verdict{Unblock: true, Policy: metav1.DeletePropagationForeground}},
		{"waiting, without dependents", object("x", nil, a), map[types.UID]OwnerState{"a": Waiting}, nil, Verdict{Policy: metav1.DeletePropagationBackground}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Judge(tt.object, tt.states, tt.dependents)
			if got.Keep != tt.want.Keep || got.Policy != tt.want.Policy || got.Unblock != tt.want.Unblock || !slices.Equal(got.Unref, tt.want.Unref) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestGraphTellsWhoIsConcerned(t *testing.T) {
	g := NewGraph()
	expect := func(what string, got []types.UID, want ...types.UID) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s concerns %v, want %v", what, got, want)
		}
	}
	expect("a child before its owner", g.Observe(identity("child"), object("child", nil, ref("owner", true))), "child")
	if n, ok := g.Get("owner"); !ok || !n.Virtual {
		t.Errorf("the owner is %+v", n)
	}
	expect("its owner", g.Observe(identity("owner"), object("owner", nil)))
	expect("another child", g.Observe(identity("late"), object("late", nil, ref("owner", false))))
	expect("foreground deletion", g.Observe(identity("owner"), object("owner", deleting("foregroundDeletion"))), "owner", "child", "late")
	expect("the same again", g.Observe(identity("owner"), object("owner", deleting("foregroundDeletion"))))
	owner, _ := g.Get("owner")
	for _, d := range g.Dependents("owner") {
		if owner.BlockedBy(d) != (d.UID == "child") {
			t.Errorf("%s blocks: %v", d.UID, owner.BlockedBy(d))
		}
	}
	expect("a child that stops blocking", g.Observe(identity("child"), object("child", nil, ref("owner", false))), "owner")
	expect("the end of a child", g.Forget("child"), "owner")
	expect("the end of the owner", g.Forget("owner"), "late")
	expect("the end of the last", g.Forget("late"))
	if len(g.nodes) != 0 {
		t.Errorf("%d nodes are left", len(g.nodes))
	}
}

func TestGraphOrphaning(t *testing.T) {
	g := NewGraph()
	g.Observe(identity("owner"), object("owner", nil))
	if got := g.Observe(identity("owner"), object("owner", deleting("orphan"))); !slices.Equal(got, []types.UID{"owner"}) {
		t.Errorf("orphaning concerns %v", got)
	}
}

func TestGraphOwnerOfAnotherName(t *testing.T) {
	g := NewGraph()
	wrong := ref("owner", false)
	wrong.Name = "somebody else"
	g.Observe(identity("child"), object("child", nil, wrong))
	if got := g.Observe(identity("owner"), object("owner", nil)); !slices.Contains(got, "child") {
		t.Errorf("the child that misnames its owner is not looked at: %v", got)
	}
}

// TestGraphTakenOwners has known objects take owners: those that may be none are looked at.
func TestGraphTakenOwners(t *testing.T) {
	away := identity("away")
	away.Namespace = "elsewhere"
	wrong := ref("owner", false)
	wrong.Kind = "Other"
	tests := []struct {
		name  string
		taken metav1.OwnerReference
		want  []types.UID
	}{
		{"one that is there", ref("owner", false), nil},
		{"one that was never seen", ref("unknown", false), []types.UID{"child"}},
		{"one of another namespace", ref("away", false), []types.UID{"child"}},
		{"one of another kind", wrong, []types.UID{"child"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := NewGraph()
			g.Observe(identity("owner"), object("owner", nil))
			g.Observe(identity("first"), object("first", nil))
			g.Observe(away, &metav1.ObjectMeta{Name: "away", Namespace: "elsewhere", UID: "away"})
			g.Observe(identity("child"), object("child", nil, ref("first", false)))
			if got := g.Observe(identity("child"), object("child", nil, ref("first", false), tt.taken)); !slices.Equal(got, tt.want) {
				t.Errorf("concerns %v, want %v", got, tt.want)
			}
			if got := g.Observe(identity("child"), object("child", nil, ref("first", false), tt.taken)); len(got) > 0 {
				t.Errorf("the same again concerns %v", got)
			}
		})
	}
}

// TestGraphOwnerElsewhere sees a child before its owner, which lives in another namespace.
func TestGraphOwnerElsewhere(t *testing.T) {
	g := NewGraph()
	g.Observe(identity("child"), object("child", nil, ref("owner", false)))
	away := identity("owner")
	away.Namespace = "elsewhere"
	if got := g.Observe(away, &metav1.ObjectMeta{Name: "owner", Namespace: "elsewhere", UID: "owner"}); !slices.Equal(got, []types.UID{"child"}) {
		t.Errorf("concerns %v", got)
	}
}

// Whatever happens in whatever order, dependents are the inverse of owners, and nothing is left of what is gone.
func TestGraphIsConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGraph()
		live := map[types.UID]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			uid := fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "object"))
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				g.Forget(types.UID(uid))
				delete(live, types.UID(uid))
			} else {
				owners := map[string]metav1.OwnerReference{}
				for _, o := range rapid.SliceOfN(rapid.IntRange(0, 7), 0, 3).Draw(t, "owners") {
					owners[fmt.Sprint(o)] = ref(fmt.Sprint(o), true)
				}
				var refs []metav1.OwnerReference
				for _, r := range owners {
					refs = append(refs, r)
				}
				g.Observe(identity(uid), object(uid, nil, refs...))
				live[types.UID(uid)] = true
			}
		}
		for uid, n := range g.nodes {
			if n.Virtual == live[uid] {
				t.Fatalf("%s: virtual is %v, live is %v", uid, n.Virtual, live[uid])
			}
			if n.Virtual && len(n.dependents) == 0 {
				t.Fatalf("%s is kept for nobody", uid)
			}
			for d, node := range n.dependents {
				if g.nodes[d] != node || !slices.ContainsFunc(node.Owners, func(r metav1.OwnerReference) bool { return r.UID == uid }) {
					t.Fatalf("%s is listed as a dependent of %s", d, uid)
				}
			}
			for _, r := range n.Owners {
				if g.nodes[r.UID] == nil || g.nodes[r.UID].dependents[uid] == nil {
					t.Fatalf("%s misses its dependent %s", r.UID, uid)
				}
			}
		}
	})
}
