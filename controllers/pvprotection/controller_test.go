package pvprotection

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFinalizers(t *testing.T) {
	const own, other = "kubernetes.io/pv-protection", "example.com/other"
	for name, tt := range map[string]struct {
		has   []string
		going bool
		phase corev1.PersistentVolumePhase
		want  []string
	}{
		"new": {nil, false, corev1.VolumePending, []string{own}}, "settled": {[]string{own}, false, corev1.VolumeBound, nil},
		"going bound": {[]string{own}, true, corev1.VolumeBound, nil}, "going free": {[]string{own}, true, corev1.VolumeAvailable, []string{}},
		"going, kept by another": {[]string{other, own}, true, corev1.VolumeReleased, []string{other}}, "gone": {[]string{other}, true, corev1.VolumeFailed, nil},
	} {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Finalizers: tt.has}, Status: corev1.PersistentVolumeStatus{Phase: tt.phase}}
		if tt.going {
			v.DeletionTimestamp = &metav1.Time{}
		}
		if got := Finalizers(v); !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
