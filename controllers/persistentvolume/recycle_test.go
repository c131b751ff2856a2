package persistentvolume

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlanRecycle(t *testing.T) {
	pod := func(phase corev1.PodPhase, message string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1"}, Status: corev1.PodStatus{Phase: phase, Message: message}}
	}
	going := pod(corev1.PodSucceeded, "")
	going.DeletionTimestamp = &metav1.Time{}
	own, emptied := recycler{uid: "1"}, recycler{uid: "1", done: true}
	for name, tt := range map[string]struct {
		pod   *corev1.Pod
		own   recycler
		users []string
		want  RecycleStep
	}{
		"begin":                {want: RecycleStep{Start: true}},
		"in use":               {users: []string{"shop/a"}, want: RecycleStep{Users: []string{"shop/a"}}},
		"somebody's pod":       {pod: pod(corev1.PodSucceeded, ""), want: RecycleStep{Remove: true}},
		"somebody's pod, gone": {pod: going},
		"pending":              {pod: pod(corev1.PodPending, ""), own: own},
		"running":              {pod: pod(corev1.PodRunning, ""), own: own},
		"succeeded":            {pod: pod(corev1.PodSucceeded, ""), own: own, want: RecycleStep{Done: true, Remove: true}},
		"succeeded, pod goes":  {pod: going, own: emptied, want: RecycleStep{Done: true}},
		"succeeded, pod gone":  {own: emptied, want: RecycleStep{Done: true}},
		"failed":               {pod: pod(corev1.PodFailed, "too late"), own: own, want: RecycleStep{Failure: "too late", Remove: true}},
		"failed in silence":    {pod: pod(corev1.PodFailed, ""), own: own, want: RecycleStep{Failure: "pod failed, pod.Status.Message unknown", Remove: true}},
		"deleted":              {own: own, want: RecycleStep{Failure: "recycler pod was deleted"}},
	} {
		if got := PlanRecycle(tt.pod, tt.own, tt.users); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRecycler(t *testing.T) {
	for name, tt := range map[string]struct {
		size    string
		source  corev1.PersistentVolumeSource
		seconds int64
	}{
		"path":       {"1Gi", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}, 60},
		"large path": {"10Gi", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}, 300},
		"nfs":        {"1Gi", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/x"}}, 300},
	} {
		pod := Recycler(aVolume("v", sized(tt.size), func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeSource = tt.source }))
		source := pod.Spec.Volumes[0].VolumeSource
		if pod.Name != "recycler-for-v" || *pod.Spec.ActiveDeadlineSeconds != tt.seconds || (source.NFS != nil) != (tt.source.NFS != nil) || (source.HostPath != nil) != (tt.source.HostPath != nil) {
			t.Errorf("%s: %+v", name, pod)
		}
	}
}
