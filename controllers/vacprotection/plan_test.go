package vacprotection

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFinalizers(t *testing.T) {
	const own, other = "kubernetes.io/vac-protection", "example.com/other"
	for name, tt := range map[string]struct {
		has         []string
		going, used bool
		want        []string
	}{
		"new": {want: []string{own}}, "settled": {has: []string{own}, used: true}, "going in use": {has: []string{own}, going: true, used: true},
		"going free": {has: []string{own}, going: true, want: []string{}}, "going, kept by another": {has: []string{other, own}, going: true, want: []string{other}},
		"going unprotected": {has: []string{other}, going: true},
	} {
		class := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Finalizers: tt.has}}
		if tt.going {
			class.DeletionTimestamp = &metav1.Time{}
		}
		if got := Finalizers(class, tt.used); !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestFreed(t *testing.T) {
	claim := func(spec, current, target string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeAttributesClassName: &spec}}
		c.Status.CurrentVolumeAttributesClassName = &current
		c.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: target}
		return c
	}
	volume := func(name string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{VolumeAttributesClassName: &name}}
	}
	for name, tt := range map[string]struct {
		before, after metav1.Object
		want          []string
	}{
		"new claim": {nil, claim("a", "", ""), nil}, "gone claim": {claim("a", "a", "b"), nil, []string{"a", "b"}},
		"changing claim": {claim("a", "a", ""), claim("b", "a", "b"), nil}, "changed claim": {claim("b", "a", "b"), claim("b", "b", ""), []string{"a"}},
		"changed volume": {volume("a"), volume("b"), []string{"a"}}, "gone volume": {volume("a"), nil, []string{"a"}}, "bare volume": {volume(""), nil, nil},
	} {
		var got []string
		for _, key := range freed(tt.before, tt.after) {
			got = append(got, key.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
