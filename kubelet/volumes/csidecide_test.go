package volumes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestWhatCSIDriversServe(t *testing.T) {
	t.Parallel()
	inline := &csiVolume{driver: "d", inline: &corev1.CSIVolumeSource{}}
	persistent := &csiVolume{driver: "d", pv: &corev1.PersistentVolume{}}
	modes := func(modes ...storagev1.VolumeLifecycleMode) *storagev1.CSIDriver {
		return &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{VolumeLifecycleModes: modes}}
	}
	for _, c := range []struct {
		driver *storagev1.CSIDriver
		volume *csiVolume
		want   string
	}{
		{nil, persistent, ""},
		{nil, inline, `volume mode "Ephemeral" not supported by driver d (no CSIDriver object)`},
		{modes(), persistent, ""},
		{modes(), inline, `volume mode "Ephemeral" not supported by driver d (only supports [])`},
		{modes("Ephemeral"), inline, ""},
		{modes("Ephemeral"), persistent, `volume mode "Persistent" not supported by driver d (only supports ["Ephemeral"])`},
	} {
		text := ""
		if err := behaviourOf(c.driver).serves(c.volume); err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%+v: %q, want %q", c.driver, text, c.want)
		}
	}
	if b := behaviourOf(nil); !b.attach || b.podInfo || b.republish {
		t.Errorf("a driver without an object: %+v", b)
	}
	if b := behaviourOf(&storagev1.CSIDriver{}); !b.attach {
		t.Error("a driver that doesn't say is not attached")
	}
}

func TestWhoOwnsCSIVolumes(t *testing.T) {
	t.Parallel()
	group := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: ptr.To[int64](1)}}}
	pv := func(fsType string, modes ...corev1.PersistentVolumeAccessMode) *csiVolume {
		return &csiVolume{pod: group, pv: &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
			AccessModes: modes, PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{FSType: fsType}},
		}}}
	}
	nobody, readOnly, block := pv("ext4", "ReadWriteOnce"), pv("ext4", "ReadWriteOnce"), pv("ext4", "ReadWriteOnce")
	nobody.pod, readOnly.readOnly, block.pv.Spec.VolumeMode = &corev1.Pod{}, true, ptr.To(corev1.PersistentVolumeBlock)
	inline := &csiVolume{pod: group, inline: &corev1.CSIVolumeSource{FSType: new("ext4")}}
	const byType = storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy
	for name, c := range map[string]struct {
		policy storagev1.FSGroupPolicy
		volume *csiVolume
		want   bool
	}{
		"one writer":           {byType, pv("ext4", "ReadWriteOnce"), true},
		"one pod":              {byType, pv("ext4", "ReadWriteOncePod"), true},
		"many writers":         {byType, pv("ext4", "ReadWriteMany"), false},
		"no type":              {byType, pv("", "ReadWriteOnce"), false},
		"no modes":             {byType, pv("ext4"), false},
		"inline":               {byType, inline, true},
		"no group":             {byType, nobody, false},
		"read-only":            {storagev1.FileFSGroupPolicy, readOnly, false},
		"a device":             {storagev1.FileFSGroupPolicy, block, false},
		"files, many writers":  {storagev1.FileFSGroupPolicy, pv("", "ReadWriteMany"), true},
		"the driver's concern": {storagev1.NoneFSGroupPolicy, pv("ext4", "ReadWriteOnce"), false},
	} {
		b := behaviour{groups: c.policy}
		if got := b.ownedByGroup(c.volume); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhenVolumesGrow(t *testing.T) {
	t.Parallel()
	pv := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{Capacity: corev1.ResourceList{"storage": resource.MustParse("2Gi")}}}
	claim := func(has string, status corev1.ClaimResourceStatus, mode corev1.PersistentVolumeAccessMode, notes ...string) *corev1.PersistentVolumeClaim {
		out := &corev1.PersistentVolumeClaim{}
		out.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
		out.Status.Capacity = corev1.ResourceList{"storage": resource.MustParse(has)}
		if status != "" {
			out.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{"storage": status}
		}
		for _, note := range notes {
			metav1.SetMetaDataAnnotation(&out.ObjectMeta, note, "true")
		}
		return out
	}
	const gi = 1 << 30
	for name, c := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		size  int64
		want  growth
	}{
		"settled":                     {claim("2Gi", "", "ReadWriteOnce"), 2 * gi, noGrowth},
		"waits for the node":          {claim("1Gi", "NodeResizePending", "ReadWriteOnce"), gi, grows},
		"was under way":               {claim("1Gi", "NodeResizeInProgress", "ReadWriteOnce"), gi, grows},
		"waits for the controller":    {claim("1Gi", "ControllerResizeInProgress", "ReadWriteOnce"), gi, noGrowth},
		"can't be":                    {claim("1Gi", "NodeResizeInfeasible", "ReadWriteOnce"), gi, noGrowth},
		"not asked of the node yet":   {claim("1Gi", "", "ReadWriteOnce"), gi, noGrowth},
		"grown by the controller":     {claim("2Gi", "", "ReadWriteOnce"), gi, noGrowth},
		"grown on another node":       {claim("2Gi", "", "ReadWriteMany"), gi, growsHere},
		"grown here too":              {claim("2Gi", "", "ReadWriteMany"), 2 * gi, noGrowth},
		"grown without need of nodes": {claim("2Gi", "", "ReadWriteMany", notRequired), gi, noGrowth},
	} {
		if got := growthOf(c.claim, pv, c.size); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestWhenVolumesAreMountable(t *testing.T) {
	t.Parallel()
	name := uniqueName("d", "h")
	if name != "kubernetes.io/csi/d^h" {
		t.Errorf("the name is %s", name)
	}
	status := &corev1.NodeStatus{VolumesAttached: []corev1.AttachedVolume{{Name: name}}}
	if err := mountable(status, name); err == nil {
		t.Error("a volume is mountable that could be detached any moment")
	}
	status.VolumesInUse = []corev1.UniqueVolumeName{name}
	if err := mountable(status, name); err != nil {
		t.Error(err)
	}
	status.VolumesAttached = nil
	if err := mountable(status, name); err == nil || err.Error() != "volume kubernetes.io/csi/d^h not attached according to node status" {
		t.Errorf("a volume that isn't attached: %v", err)
	}
}
