package pvcprotection

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFinalizers(t *testing.T) {
	const own, other = "kubernetes.io/pvc-protection", "example.com/other"
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		has   []string
		going bool
		used  bool
		err   error
		want  []string
	}{
		"new":       {has: []string{other}, want: []string{other, own}},
		"settled":   {has: []string{own}},
		"used":      {has: []string{own}, going: true, used: true},
		"free":      {has: []string{own}, going: true, want: []string{}},
		"unknown":   {has: []string{own}, going: true, err: broken},
		"unguarded": {has: []string{other}, going: true},
	} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Finalizers: tt.has}}
		if tt.going {
			claim.DeletionTimestamp = &metav1.Time{}
		}
		got, err := Finalizers(claim, func() (bool, error) { return tt.used, tt.err })
		if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
	}
}

func TestUses(t *testing.T) {
	pod := func(node string, source corev1.VolumeSource) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", UID: "1"},
			Spec:       corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{Name: "data", VolumeSource: source}}},
		}
	}
	named := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "p-data"}}
	own := corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
	yes := true
	owned := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Name: "p-data", Namespace: "shop", OwnerReferences: []metav1.OwnerReference{{UID: "1", Controller: &yes}},
	}}
	foreign := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "p-data", Namespace: "shop"}}
	done := pod("n", own)
	done.DeletionTimestamp, done.DeletionGracePeriodSeconds = &metav1.Time{}, new(int64)
	doneNamed := pod("n", named)
	doneNamed.DeletionTimestamp, doneNamed.DeletionGracePeriodSeconds = &metav1.Time{}, new(int64)
	for name, tt := range map[string]struct {
		pod   *corev1.Pod
		claim *corev1.PersistentVolumeClaim
		want  bool
	}{
		"named": {pod("n", named), foreign, true}, "unscheduled": {pod("", named), foreign, false},
		"ephemeral": {pod("n", own), owned, true}, "not its own": {pod("n", own), foreign, false},
		"ephemeral, shut down": {done, owned, false}, "named, shut down": {doneNamed, foreign, true},
	} {
		if got := Uses(tt.pod, tt.claim); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
