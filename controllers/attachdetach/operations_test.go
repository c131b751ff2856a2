package attachdetach

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

func TestOutcome(t *testing.T) {
	at := metav1.NewTime(now.Add(time.Second))
	is := func(change func(*storagev1.VolumeAttachment)) *storagev1.VolumeAttachment {
		a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{UID: "1"}}
		change(a)
		return a
	}
	asked := is(func(*storagev1.VolumeAttachment) {})
	other := is(func(a *storagev1.VolumeAttachment) { a.UID = "2" })
	attached := is(func(a *storagev1.VolumeAttachment) { a.Status.Attached = true })
	leaving := is(func(a *storagev1.VolumeAttachment) { a.Status.Attached, a.DeletionTimestamp = true, &at })
	noDisk := is(func(a *storagev1.VolumeAttachment) { a.Status.AttachError = &storagev1.VolumeError{Time: at} })
	noLeave := is(func(a *storagev1.VolumeAttachment) { a.Status.DetachError = &storagev1.VolumeError{Time: at} })
	for _, c := range []struct {
		name   string
		o      operation
		a      *storagev1.VolumeAttachment
		after  time.Duration
		result string
		over   bool
	}{
		{"attaching", operation{name: attaching}, asked, time.Minute, "", false},
		{"attached", operation{name: attaching}, attached, time.Minute, resultSuccess, true},
		{"not attached", operation{name: attaching}, noDisk, time.Minute, resultFailure, false},
		{"not attached, as known", operation{name: attaching, told: at.Time}, noDisk, time.Hour, "", false},
		{"no answer", operation{name: attaching}, asked, AttachTimeout, resultFailure, false},
		{"taken back", operation{name: attaching}, leaving, time.Minute, "", true},
		{"gone", operation{name: attaching}, nil, time.Minute, "", true},
		{"made anew", operation{name: attaching}, other, time.Minute, "", true},
		{"detaching", operation{name: detaching}, leaving, time.Minute, "", false},
		{"detached", operation{name: detaching}, nil, time.Minute, resultSuccess, true},
		{"detached and attached again", operation{name: detaching}, other, time.Minute, resultSuccess, true},
		{"not detached", operation{name: detaching}, noLeave, time.Minute, resultFailure, false},
		{"not detached, as known", operation{name: detaching, told: at.Time}, noLeave, time.Minute, "", false},
	} {
		c.o.uid, c.o.began = "1", now
		if result, over, _ := c.o.outcome(c.a, now.Add(c.after)); result != c.result || over != c.over {
			t.Errorf("%s: %q, over: %t", c.name, result, over)
		}
	}
}

func TestOperations(t *testing.T) {
	registry, l := metrics.NewKubeRegistry(), newOperations()
	if err := registry.Register(l.seconds); err != nil {
		t.Fatal(err)
	}
	a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{UID: "1"}}
	find := func(string) *storagev1.VolumeAttachment { return a }
	l.begin("n", "a", operation{name: attaching, driver: "d.example.com", uid: "1", began: now})
	l.look("n", find, now.Add(time.Second))
	l.look("other", find, now.Add(time.Second))
	a.Status.AttachError = &storagev1.VolumeError{Time: metav1.NewTime(now)}
	l.look("n", find, now.Add(3*time.Second))
	l.look("n", find, now.Add(4*time.Second))
	a.Status = storagev1.VolumeAttachmentStatus{Attached: true}
	l.look("n", find, now.Add(8*time.Second))
	l.look("n", find, now.Add(9*time.Second))
	l.begin("n", "a", operation{name: detaching, driver: "d.example.com", migrated: true, uid: "1", began: now})
	a = nil
	l.look("n", find, now.Add(2*time.Second))
	for _, c := range []struct {
		name, status, migrated string
		seconds                float64
	}{{attaching, "fail-unknown", "false", 3}, {attaching, "success", "false", 5}, {detaching, "success", "true", 2}} {
		labels := map[string]string{"volume_plugin": "kubernetes.io/csi:d.example.com", "operation_name": c.name, "status": c.status, "migrated": c.migrated}
		h, err := testutil.GetHistogramVecFromGatherer(registry, "storage_operation_duration_seconds", labels)
		if err != nil || h.GetAggregatedSampleCount() != 1 || h.GetAggregatedSampleSum() != c.seconds {
			t.Errorf("%v: %v, %v", labels, h, err)
		}
	}
	if len(l.running) > 0 {
		t.Errorf("what is over is remembered: %v", l.running)
	}
}

func TestMigrated(t *testing.T) {
	volumes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for name, source := range map[string]corev1.PersistentVolumeSource{
		"new": {CSI: &corev1.CSIPersistentVolumeSource{}}, "old": {GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{}},
	} {
		if err := volumes.Add(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}); err != nil {
			t.Fatal(err)
		}
	}
	r := &resolver{volumes: listers.NewPersistentVolumeLister(volumes)}
	for name, want := range map[string]bool{"new": false, "old": true, "gone": false} {
		if got := r.migrated(storagev1.VolumeAttachmentSource{PersistentVolumeName: &name}); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if !r.migrated(storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{}}) {
		t.Error("a volume in a pod's spec is one of CSI's own")
	}
}
