package volumes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"

	"skiff/kubelet/csi"
)

// TestNothingIsUnstagedBelowAPublication is of a driver that says it took a volume from a pod, but left it mounted there.
func TestNothingIsUnstagedBelowAPublication(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]corev1.PersistentVolumeMode{"files": corev1.PersistentVolumeFilesystem, "device": corev1.PersistentVolumeBlock} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages}, append(diskClaim(func(pv *corev1.PersistentVolume) {
				pv.Spec.VolumeMode = ptr.To(mode)
			}), driverObject(func(*storagev1.CSIDriverSpec) {}))...)
			b.mount(t, claimPod("one"))
			b.driver.LeaveMounted(true)
			for range 2 {
				if err := b.Unmount(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "still mounted") {
					t.Errorf("a volume that stays mounted: %v", err)
				}
			}
			if slices.Contains(b.driver.Methods(), "NodeUnstageVolume") {
				t.Error("unstaged while it was still mounted in the pod")
			}
			b.driver.LeaveMounted(false)
			if err := b.Unmount(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			b.leavesNothing(t)
		})
	}
}

// TestAVolumeUnderTwoNamesIsUnstagedOnce is of a pod that has one volume of a driver as two persistent volumes.
func TestAVolumeUnderTwoNamesIsUnstagedOnce(t *testing.T) {
	t.Parallel()
	objects := diskClaim(func(*corev1.PersistentVolume) {})
	for _, object := range diskClaim(func(*corev1.PersistentVolume) {}) {
		switch object := object.(type) {
		case *corev1.PersistentVolume:
			object.Name, object.Spec.ClaimRef.UID = "pv-2", "claim-2"
		case *corev1.PersistentVolumeClaim:
			object.Name, object.UID, object.Spec.VolumeName = "more", "claim-2", "pv-2"
		}
		objects = append(objects, object)
	}
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages}, append(objects, driverObject(func(*storagev1.CSIDriverSpec) {}))...)
	pod := claimPod("one")
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "more", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "more"},
	}})
	b.mount(t, pod)
	if err := b.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	b.did(t, "NodeStageVolume", "NodePublishVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")
	b.leavesNothing(t)
}

// TestOneUnreadableEntryHidesNoOther is of a node that starts with a torn file: what else its pods have may not be detached.
func TestOneUnreadableEntryHidesNoOther(t *testing.T) {
	t.Parallel()
	layout := csiLayout{t.TempDir()}
	for _, data := range []volData{{Name: "a", Handle: "a", Driver: "d"}, {Name: "c", Handle: "c", Driver: "d"}} {
		if err := data.save(layout.podVolume("one", data.Name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(layout.podVolume("one", "b"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(layout.podVolume("one", "b"), volDataFile), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	all, err := layout.all()
	if err == nil {
		t.Error("an entry that can't be read is no error")
	}
	var handles []string
	for _, h := range all {
		handles = append(handles, h.Handle)
	}
	if !slices.Equal(handles, []string{"a", "c"}) {
		t.Errorf("read %v", handles)
	}
}

// TestAnEntryHalfWrittenDoesNotKeepItsPod is of a process killed while it noted a volume that no driver had heard of yet.
func TestAnEntryHalfWrittenDoesNotKeepItsPod(t *testing.T) {
	t.Parallel()
	b := newCSIBench(t, nil)
	dir := b.csi.layout.podVolume("one", "pv-1")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "."+volDataFile), []byte(`{"specV`), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := b.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	b.leavesNothing(t)
}

// TestEntriesAreFoundWhereTheyAre is of files that do not name their volume: the place they lie in does.
func TestEntriesAreFoundWhereTheyAre(t *testing.T) {
	t.Parallel()
	layout := csiLayout{t.TempDir()}
	if err := (volData{Handle: "h", Driver: "d"}).save(layout.podVolume("one", "pv-1")); err != nil {
		t.Fatal(err)
	}
	found, err := layout.of("one")
	if err != nil || len(found) != 1 || found[0].Name != "pv-1" {
		t.Errorf("found %v (%v)", found, err)
	}
}
