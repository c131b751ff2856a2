package statefulset

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClaimOwners(t *testing.T) {
	const del, keep = appsv1.DeletePersistentVolumeClaimRetentionPolicyType, appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	set := func(uid string) string { return "apps/v1 StatefulSet db " + uid + " true;" }
	pod := func(uid string) string { return "v1 Pod db-1 " + uid + " true;" }
	const other, user = "v1 Node n o true;", "v1 Node n o false;"
	tests := []struct {
		deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType
		replicas        int32
		has, want       string
		conflict        bool
	}{
		{keep, keep, 1, "", "", false},
		{keep, keep, 1, set("s") + pod("p"), "", false},
		{del, keep, 1, "", set("s"), false},
		{del, keep, 1, set("s"), set("s"), false},
		{del, keep, 1, "apps/v1 StatefulSet db s false;", set("s"), false},
		{keep, del, 1, "", pod("p"), false},
		{keep, del, 2, pod("p"), "", false},
		{del, del, 1, set("s"), pod("p"), false},
		{del, del, 2, "", set("s"), false},
		{del, del, 2, set("s") + user, set("s") + user, false},
		{del, keep, 1, user, user + set("s"), false},
		{del, keep, 1, other, other, true},
		{del, keep, 1, set("s") + other, other, true},
		{keep, keep, 1, other, other, false},
		{del, keep, 1, set("former"), set("former"), true}, // the garbage collector's
		{keep, del, 2, pod("former"), pod("former"), true},
	}
	for _, tt := range tests {
		s := newSet(tt.replicas, func(s *appsv1.StatefulSetSpec) {
			s.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: tt.deleted, WhenScaled: tt.scaled}
		})
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-1", UID: "p"}}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: refs(t, tt.has)}}
		got := ""
		for _, r := range claimOwners(s, claim, p) {
			got += fmt.Sprintf("%s %s %s %s %v;", r.APIVersion, r.Kind, r.Name, r.UID, r.Controller != nil && *r.Controller)
		}
		if got != tt.want || conflicting(s, claim, p) != tt.conflict {
			t.Errorf("%+v: owned by %q, conflict %v", tt, got, conflicting(s, claim, p))
		}
	}
}

func refs(t *testing.T, text string) []metav1.OwnerReference {
	t.Helper()
	var out []metav1.OwnerReference
	for text != "" {
		var r metav1.OwnerReference
		var controller bool
		one, rest, _ := strings.Cut(text, ";")
		if _, err := fmt.Sscan(one, &r.APIVersion, &r.Kind, &r.Name, &r.UID, &controller); err != nil {
			t.Fatal(err)
		}
		r.Controller, text = &controller, rest
		out = append(out, r)
	}
	return out
}
