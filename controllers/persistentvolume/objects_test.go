package persistentvolume

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff/controllers/internal/controller"
)

func TestBoundClaim(t *testing.T) {
	for name, tt := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		dirty bool
		by    string
	}{
		"unbound": {aClaim(), true, "yes"}, "named by its author": {aClaim(named("v")), true, ""}, "bound": {aClaim(named("v", completed)), false, ""},
	} {
		got, dirty := BoundClaim(tt.claim, aVolume("v"))
		if dirty != tt.dirty || got.Spec.VolumeName != "v" || got.Annotations[completed] != "yes" || got.Annotations[controlled] != tt.by {
			t.Errorf("%s: %v, %+v", name, dirty, got)
		}
		if dirty && tt.claim.Annotations[completed] != "" {
			t.Errorf("%s: the claim itself was changed", name)
		}
	}
}

func TestClaimStatus(t *testing.T) {
	gold := "gold"
	volume := aVolume("v", func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = &gold })
	bound, dirty, err := ClaimStatus(aClaim(), corev1.ClaimBound, volume)
	if err != nil || !dirty || bound.Status.Phase != corev1.ClaimBound || !bound.Status.Capacity.Storage().Equal(resource.MustParse("2Gi")) ||
		!slices.Equal(bound.Status.AccessModes, volume.Spec.AccessModes) || *bound.Status.CurrentVolumeAttributesClassName != gold {
		t.Errorf("bound: %v, %v, %+v", dirty, err, bound.Status)
	}
	grown := aVolume("v", sized("5Gi"))
	if again, dirty, err := ClaimStatus(bound, corev1.ClaimBound, grown); dirty || err != nil || !again.Status.Capacity.Storage().Equal(resource.MustParse("2Gi")) {
		t.Errorf("a bound claim's size: %v, %v, %+v", dirty, err, again.Status)
	}
	resizing := aVolume("v", sized("5Gi"), marked(preResize, "1Gi"))
	if got, _, err := ClaimStatus(aClaim(), corev1.ClaimBound, resizing); err != nil || !got.Status.Capacity.Storage().Equal(resource.MustParse("1Gi")) {
		t.Errorf("file system not resized: %+v, %v", got.Status, err)
	}
	if _, _, err := ClaimStatus(aClaim(), corev1.ClaimBound, aVolume("v", func(v *corev1.PersistentVolume) { v.Spec.Capacity = nil })); err == nil {
		t.Error("a volume without a size was taken")
	}
	lost, dirty, err := ClaimStatus(bound, corev1.ClaimLost, nil)
	if s := lost.Status; err != nil || !dirty || s.Phase != corev1.ClaimLost || s.AccessModes != nil || s.Capacity != nil || s.CurrentVolumeAttributesClassName != nil {
		t.Errorf("lost: %v, %v, %+v", dirty, err, s)
	}
	if _, dirty, _ := ClaimStatus(aClaim(), corev1.ClaimPending, nil); dirty {
		t.Error("a pending claim is to be written again")
	}
}

func TestUnbound(t *testing.T) {
	if got := Unbound(aVolume("v", of("1"), marked(controlled, "yes"))); got.Spec.ClaimRef != nil || got.Annotations != nil {
		t.Errorf("bound by the controller: %+v", got)
	}
	if got := Unbound(aVolume("v", of("1"))); got.Spec.ClaimRef == nil || got.Spec.ClaimRef.UID != "" || got.Spec.ClaimRef.Name != "data" {
		t.Errorf("reserved by its author: %+v", got.Spec.ClaimRef)
	}
}

func TestProvisioned(t *testing.T) {
	asked, dirty := Provisioned(aClaim(), "example.com/disk")
	if !dirty || asked.Annotations["volume.kubernetes.io/storage-provisioner"] != "example.com/disk" || asked.Annotations["volume.beta.kubernetes.io/storage-provisioner"] != "example.com/disk" {
		t.Errorf("%v, %v", dirty, asked.Annotations)
	}
	if _, dirty := Provisioned(asked, "example.com/disk"); dirty {
		t.Error("asked twice")
	}
}

func TestDrivers(t *testing.T) {
	const own, drivers, to = "kubernetes.io/pv-controller", "external-provisioner.volume.kubernetes.io/finalizer", "pv.kubernetes.io/migrated-to"
	const remove, retain = corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain
	for name, tt := range map[string]struct {
		by        string
		policy    corev1.PersistentVolumeReclaimPolicy
		has, want []string
		migrated  string
		dirty     bool
	}{
		"by hand":         {policy: remove},
		"CSI":             {by: "example.com/disk", policy: remove, has: []string{drivers}, want: []string{drivers}},
		"not migrated":    {by: "kubernetes.io/host-path", policy: remove, has: []string{drivers}, want: []string{own}, dirty: true},
		"not deleted":     {by: "kubernetes.io/host-path", policy: retain, has: []string{own}, dirty: true},
		"migrated":        {by: "kubernetes.io/aws-ebs", policy: remove, has: []string{own, drivers}, want: []string{drivers}, migrated: "ebs.csi.aws.com", dirty: true},
		"settled in-tree": {by: "kubernetes.io/host-path", policy: remove, has: []string{own}, want: []string{own}},
	} {
		volume := aVolume("v", policy(tt.policy), func(v *corev1.PersistentVolume) { v.Finalizers = tt.has })
		if tt.by != "" {
			volume.Annotations[by] = tt.by
		}
		got, dirty := VolumeDriver(volume)
		if dirty != tt.dirty || !slices.Equal(got.Finalizers, tt.want) || got.Annotations[to] != tt.migrated {
			t.Errorf("%s: %v, %v, %v", name, dirty, got.Finalizers, got.Annotations)
		}
	}
	claim := aClaim(func(c *corev1.PersistentVolumeClaim) {
		c.Annotations["volume.beta.kubernetes.io/storage-provisioner"] = "kubernetes.io/gce-pd"
	})
	if got, dirty := ClaimDriver(claim); !dirty || got.Annotations[to] != "pd.csi.storage.gke.io" {
		t.Errorf("claim: %v, %v", dirty, got.Annotations)
	}
	claim.Annotations = map[string]string{"volume.kubernetes.io/storage-provisioner": "example.com/disk", to: "x"}
	if got, dirty := ClaimDriver(claim); !dirty || got.Annotations[to] != "" {
		t.Errorf("claim that is no longer migrated: %v, %v", dirty, got.Annotations)
	}
}

func TestLatest(t *testing.T) {
	version := func(v string, uid types.UID) *corev1.PersistentVolume {
		return aVolume("v", func(o *corev1.PersistentVolume) { o.ResourceVersion, o.UID = v, uid })
	}
	key := controller.Key{Name: "v"}
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "persistentvolumes"}, "v")
	for name, tt := range map[string]struct {
		cached *corev1.PersistentVolume
		err    error
		want   string
	}{
		"behind": {cached: version("5", "a"), want: "7"}, "caught up": {cached: version("7", "a"), want: "7"}, "ahead": {cached: version("9", "a"), want: "9"},
		"another of the name": {cached: version("6", "b"), want: "6"}, "gone": {err: gone},
	} {
		var l latest[*corev1.PersistentVolume]
		l.wrote(version("7", "a"))
		got, ok, err := l.of(key, tt.cached, tt.err)
		if err != nil || ok != (tt.want != "") || (ok && got.ResourceVersion != tt.want) {
			t.Errorf("%s: %v, %v, %v", name, got, ok, err)
		}
		if kept := len(l.written) > 0; kept != (name == "behind") {
			t.Errorf("%s: remembered: %v", name, kept)
		}
	}
}

func TestOffered(t *testing.T) {
	for name, tt := range map[string]struct {
		old, now *corev1.PersistentVolume
		want     bool
	}{
		"new": {nil, aVolume("v"), true}, "not yet": {nil, aVolume("v", in(corev1.VolumePending)), false}, "now": {aVolume("v", in(corev1.VolumePending)), aVolume("v"), true},
		"as before": {aVolume("v"), aVolume("v"), false}, "larger": {aVolume("v"), aVolume("v", sized("5Gi")), true}, "had": {nil, aVolume("v", of("1")), false},
		"labelled": {aVolume("v"), aVolume("v", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} }), true},
		"let go":   {aVolume("v", of("1")), aVolume("v"), true},
	} {
		if got := offered(tt.old, tt.now); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
