package attachdetach

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	translation "k8s.io/csi-translation-lib"
)

func indexer(t *testing.T, objects ...any) cache.Indexer {
	t.Helper()
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		if err := i.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-of-claim"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func persistent(name string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}, Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: source, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: name, UID: "uid-of-claim"},
	}}
}

func csi(driver, handle string) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}}
}

// newResolver knows claims of all kinds.
func newResolver(t *testing.T) *resolver {
	unbound, stolen := claim("unbound"), persistent("stolen", csi("d.example.com", "stolen"))
	unbound.Status.Phase, stolen.Spec.ClaimRef.UID = corev1.ClaimPending, "another"
	no := false
	return &resolver{
		claims: listers.NewPersistentVolumeClaimLister(indexer(t, claim("disk"), claim("local"), claim("free"), claim("legacy"), claim("stolen"), claim("lost"), unbound)),
		volumes: listers.NewPersistentVolumeLister(indexer(t,
			persistent("disk", csi("d.example.com", "disk")), persistent("free", csi("free.example.com", "free")), stolen, persistent("unbound", csi("d.example.com", "unbound")),
			persistent("local", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}}),
			persistent("legacy", corev1.PersistentVolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "legacy"}}))),
		drivers:   storagelisters.NewCSIDriverLister(indexer(t, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "free.example.com"}, Spec: storagev1.CSIDriverSpec{AttachRequired: &no}})),
		translate: translation.New(),
	}
}

func withClaims(name string, claims ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for _, c := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: c, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}}})
	}
	return pod
}

// TestWanted finds the volumes that are to be attached among those that need none, are not bound, or are not there.
func TestWanted(t *testing.T) {
	r := newResolver(t)
	inline := withClaims("inline")
	inline.Spec.Volumes = []corev1.Volume{
		{Name: "old", VolumeSource: corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}}},
		{Name: "scratch", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d.example.com"}}},
		{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	ended := withClaims("ended", "disk")
	ended.Status.Phase = corev1.PodSucceeded
	got := r.wanted([]*corev1.Pod{withClaims("a", "disk", "local", "free", "unbound", "stolen", "lost", "none"), withClaims("b", "disk", "legacy", "disk"), ended, inline})
	const legacy, old = "kubernetes.io/csi/pd.csi.storage.gke.io^projects/UNSPECIFIED/zones/UNSPECIFIED/disks/legacy", "kubernetes.io/csi/ebs.csi.aws.com^vol-1"
	if len(got) != 3 || got[disk] == nil || got[legacy] == nil || got[old] == nil {
		t.Fatalf("wanted %v", sorted(got))
	}
	if v := got[disk]; v.Title != "pv-disk" || *v.Source.PersistentVolumeName != "pv-disk" || !v.Exclusive || len(v.Pods) != 2 {
		t.Errorf("disk %+v", v)
	}
	if v := got[legacy]; *v.Source.PersistentVolumeName != "pv-legacy" || v.Driver != "pd.csi.storage.gke.io" {
		t.Errorf("legacy %+v", v)
	}
	if v := got[old]; v.Source.InlineVolumeSpec == nil || v.Source.InlineVolumeSpec.CSI.VolumeHandle != "vol-1" {
		t.Errorf("inline %+v", v)
	}
	for want, source := range map[corev1.UniqueVolumeName]storagev1.VolumeAttachmentSource{disk: got[disk].Source, legacy: got[legacy].Source, old: got[old].Source} {
		if name := r.attached(&storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{Source: source}}); name != want {
			t.Errorf("attachment of %s is taken for one of %q", want, name)
		}
	}
}
