package volumes

import (
	"os"
	"path/filepath"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"skiff/kubelet/csi"
)

func TestVolumesAreMeasuredForThoseWhoAsk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := podWith(
		corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("4Mi")),
		}}},
		corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}},
	)
	paths := b.mount(t, pod)
	for _, name := range []string{"disk", "memory"} {
		if err := os.WriteFile(filepath.Join(paths[name], "file"), make([]byte, 64<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Usage("nobody"); got != nil {
		t.Errorf("a pod that isn't here: %v", got)
	}
	found := map[string]statsapi.VolumeStats{}
	eventually(t, "a measurement", func() bool {
		for _, v := range b.Usage(pod.UID) {
			found[v.Name] = v
		}
		return len(found) > 0
	})
	if len(found) != 2 {
		t.Errorf("measured %v", found)
	}
	disk, memory := found["disk"], found["memory"]
	if *disk.UsedBytes < 64<<10 || *disk.UsedBytes > 1<<20 || *disk.InodesUsed != 2 || *disk.CapacityBytes < 1<<20 || disk.PVCRef != nil {
		t.Errorf("the disk has %d bytes in %d files", *disk.UsedBytes, *disk.InodesUsed)
	}
	if *memory.CapacityBytes != 4<<20 || *memory.UsedBytes != 64<<10 || *memory.AvailableBytes != 4<<20-64<<10 {
		t.Errorf("the memory has %d of %d bytes", *memory.UsedBytes, *memory.CapacityBytes)
	}
}

func TestDriversTellHowFullTheirVolumesAre(t *testing.T) {
	t.Parallel()
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.CountsUse},
		append(diskClaim(func(*corev1.PersistentVolume) {}), driverObject(func(*storagev1.CSIDriverSpec) {}))...)
	pod := claimPod("one")
	b.mount(t, pod)
	b.measure(t.Context(), pod.UID)
	got := b.Usage(pod.UID)
	if len(got) != 1 || *got[0].CapacityBytes != 100 || *got[0].UsedBytes != 60 || *got[0].InodesFree != 4 || got[0].PVCRef == nil ||
		*got[0].PVCRef != (statsapi.PVCReference{Namespace: "shop", Name: "data"}) {
		t.Errorf("measured %+v", got)
	}
	if err := b.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	b.leavesNothing(t)
}
