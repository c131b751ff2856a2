package localpath

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const finalizer = "external-provisioner.volume.kubernetes.io/finalizer"

func aClaim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := "local-path"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "data", UID: "0b5c7a52-8f3b-4e0e-9c55-1f2f8a3b6c11",
			Annotations: map[string]string{"volume.kubernetes.io/storage-provisioner": Name, "volume.kubernetes.io/selected-node": "node-1"},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func aClass(change ...func(*storagev1.StorageClass)) *storagev1.StorageClass {
	policy, mode := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingWaitForFirstConsumer
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}, Provisioner: Name, ReclaimPolicy: &policy, VolumeBindingMode: &mode}
	for _, f := range change {
		f(c)
	}
	return c
}

func TestAsks(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*corev1.PersistentVolumeClaim)
		want   bool
	}{
		"asks": {func(*corev1.PersistentVolumeClaim) {}, true},
		"by the old name": {func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{"volume.beta.kubernetes.io/storage-provisioner": Name}
		}, true},
		"another": {func(c *corev1.PersistentVolumeClaim) {
			c.Annotations["volume.kubernetes.io/storage-provisioner"] = "example.com/disk"
		}, false},
		"has one": {func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }, false},
		"going":   {func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }, false},
	} {
		if got := Asks(aClaim(tt.change)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRefuse(t *testing.T) {
	block, gold := corev1.PersistentVolumeBlock, "gold"
	claim := func(f func(*corev1.PersistentVolumeClaimSpec)) *corev1.PersistentVolumeClaim {
		c := aClaim()
		f(&c.Spec)
		return c
	}
	for want, tt := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		class *storagev1.StorageClass
	}{
		"": {aClaim(), aClass()},
		"a directory of one node supports the access modes ReadWriteOnce and ReadWriteOncePod, not ReadWriteMany": {claim(func(s *corev1.PersistentVolumeClaimSpec) {
			s.AccessModes = append(s.AccessModes, corev1.ReadWriteMany)
		}), aClass()},
		"a directory supports the volumeMode Filesystem, not Block":                                               {claim(func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeMode = &block }), aClass()},
		"claim Selector is not supported":                                                                         {claim(func(s *corev1.PersistentVolumeClaimSpec) { s.Selector = &metav1.LabelSelector{} }), aClass()},
		"a directory can't be made from a data source":                                                            {claim(func(s *corev1.PersistentVolumeClaimSpec) { s.DataSource = &corev1.TypedLocalObjectReference{} }), aClass()},
		"volumeAttributesClassName is not supported":                                                              {claim(func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeAttributesClassName = &gold }), aClass()},
		"the parameters [nodePath] are not known":                                                                 {aClaim(), aClass(func(c *storagev1.StorageClass) { c.Parameters = map[string]string{"nodePath": "/"} })},
		`Mount options are not supported by the provisioner but StorageClass "local-path" has mount options [ro]`: {aClaim(), aClass(func(c *storagev1.StorageClass) { c.MountOptions = []string{"ro"} })},
	} {
		if got := Refuse(tt.claim, tt.class); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestVolume(t *testing.T) {
	v := Volume(aClaim(), aClass(), "host-1", "/data/volumes/x")
	if v.Name != "pvc-0b5c7a52-8f3b-4e0e-9c55-1f2f8a3b6c11" || v.Spec.Local.Path != "/data/volumes/x" || v.Spec.ClaimRef.UID != aClaim().UID ||
		v.Spec.StorageClassName != "local-path" || !v.Spec.Capacity.Storage().Equal(resource.MustParse("1Gi")) || !slices.Equal(v.Finalizers, []string{finalizer}) {
		t.Errorf("%+v", v)
	}
	if !Ours(v, "host-1") || Ours(v, "host-2") {
		t.Error("the volume is of another node")
	}
	foreign := v.DeepCopy()
	foreign.Annotations["pv.kubernetes.io/provisioned-by"] = "example.com/disk"
	anywhere := v.DeepCopy()
	anywhere.Spec.NodeAffinity = nil
	if Ours(foreign, "host-1") || Ours(anywhere, "host-1") {
		t.Error("another's volume is taken for one of ours")
	}
	retain := corev1.PersistentVolumeReclaimRetain
	if kept := Volume(aClaim(), aClass(func(c *storagev1.StorageClass) { c.ReclaimPolicy = &retain }), "host-1", "/x"); len(kept.Finalizers) > 0 || kept.Spec.PersistentVolumeReclaimPolicy != retain {
		t.Errorf("%+v", kept)
	}
}

func TestReclaims(t *testing.T) {
	const remove, retain = corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain
	for name, tt := range map[string]struct {
		phase  corev1.PersistentVolumePhase
		policy corev1.PersistentVolumeReclaimPolicy
		going  bool
		has    []string
		want   bool
		final  []string
	}{
		"bound":                {phase: corev1.VolumeBound, policy: remove, has: []string{finalizer}, final: []string{finalizer}},
		"released":             {phase: corev1.VolumeReleased, policy: remove, has: []string{finalizer}, want: true, final: []string{finalizer}},
		"kept":                 {phase: corev1.VolumeReleased, policy: retain, has: []string{finalizer, "x"}, final: []string{"x"}},
		"made deletable":       {phase: corev1.VolumeReleased, policy: remove, has: []string{"x"}, want: true, final: []string{"x", finalizer}},
		"deleted by a person":  {phase: corev1.VolumeReleased, policy: remove, going: true, has: []string{finalizer}, want: true, final: []string{finalizer}},
		"removed, on its way":  {phase: corev1.VolumeReleased, policy: remove, going: true, has: []string{"x"}, final: []string{"x"}},
		"deleted, still bound": {phase: corev1.VolumeBound, policy: remove, going: true, has: []string{finalizer}, final: []string{finalizer}},
	} {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Finalizers: tt.has}, Status: corev1.PersistentVolumeStatus{Phase: tt.phase}}
		v.Spec.PersistentVolumeReclaimPolicy = tt.policy
		if tt.going {
			v.DeletionTimestamp = &metav1.Time{}
		}
		if got := Reclaims(v); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := Finalizers(v); !slices.Equal(got, tt.final) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
