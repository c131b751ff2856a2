package volumeexpand

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func size(text string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(text)}
}

func claim(wanted, has string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "1"},
		Spec:       corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: size(wanted)}},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: size(has)},
	}
}

func TestPlanClaim(t *testing.T) {
	csi := corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "example.com/disk"}}
	disk := corev1.PersistentVolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "d"}}
	for name, tt := range map[string]struct {
		wanted, has string
		uid         string
		source      corev1.PersistentVolumeSource
		annotations map[string]string
		want        Plan
		err         string
	}{
		"large enough":    {wanted: "1Gi", has: "1Gi", uid: "1", source: csi},
		"grows":           {wanted: "2Gi", has: "1Gi", uid: "1", source: csi, want: Plan{Message: "waiting for an external controller to expand this PVC"}},
		"file system due": {wanted: "1Gi", has: "1Gi", uid: "1", source: csi, annotations: map[string]string{preResize: "1Gi"}, want: Plan{Message: "waiting for an external controller to expand this PVC"}},
		"migrated": {
			wanted: "2Gi", has: "1Gi", uid: "1", source: disk,
			want: Plan{Message: "CSI migration enabled for kubernetes.io/gce-pd; waiting for external resizer to expand the pvc", Resizer: "pd.csi.storage.gke.io"},
		},
		"another's volume": {wanted: "2Gi", has: "1Gi", uid: "2", source: csi, err: "persistent Volume is not bound to PVC being updated : shop/data"},
	} {
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Annotations: tt.annotations},
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeSource: tt.source, ClaimRef: &corev1.ObjectReference{Namespace: "shop", UID: "1"},
			},
		}
		c := claim(tt.wanted, tt.has)
		if tt.uid != "1" {
			volume.Spec.ClaimRef.UID = "other"
		}
		got, err := PlanClaim(c, volume)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestGrows(t *testing.T) {
	pending := claim("2Gi", "1Gi")
	pending.Status.Phase = corev1.ClaimPending
	for name, tt := range map[string]struct {
		before, after *corev1.PersistentVolumeClaim
		want          bool
	}{
		"new": {nil, claim("1Gi", "1Gi"), true}, "pending": {nil, pending, false},
		"same": {claim("1Gi", "1Gi"), claim("1Gi", "1Gi"), false}, "wants more": {claim("1Gi", "1Gi"), claim("2Gi", "1Gi"), true},
		"has more": {claim("2Gi", "1Gi"), claim("2Gi", "2Gi"), true}, "wants less": {claim("2Gi", "1Gi"), claim("1Gi", "1Gi"), false},
	} {
		if got := Grows(tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
