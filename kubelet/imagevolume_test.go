package kubelet

import (
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/images"
	"skiff/kubelet/internal/ociarchive"
)

const dataImage = "skiff.local/data:v1"

func imageVolume(name, reference string, policy corev1.PullPolicy) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: reference, PullPolicy: policy}}}
}

func mountOf(name, at, sub string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: name, MountPath: at, SubPath: sub}
}

func TestImagesAreMountedAsVolumes(t *testing.T) {
	f := start(t)
	f.node.Import(t, ociarchive.Image{Name: dataImage, Files: map[string]ociarchive.File{
		"root.txt": {Content: []byte("from the root\n"), Mode: 0o644}, "models/small/weights": {Content: []byte("from below\n"), Mode: 0o644},
	}})
	f.create(newPod("mounts", "cat /data/root.txt /small/weights; touch /data/x || echo read-only; "+forever, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{imageVolume("data", dataImage, corev1.PullIfNotPresent)}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{mountOf("data", "/data", ""), mountOf("data", "/small", "models/small")}
		side := shell("side", "cat /data/root.txt; "+forever)
		side.VolumeMounts = []corev1.VolumeMount{mountOf("data", "/data", "")}
		p.Spec.Containers = append(p.Spec.Containers, side)
	}))
	p := f.await("mounts", "ready", ready)
	for _, want := range []string{"from the root", "from below", "read-only"} {
		hasLog("c", want)(t, f, p)
	}
	hasLog("side", "from the root")(t, f, p)
	hasEvent(`Container image "`+dataImage+`" already present on machine`)(t, f, p)

	store := images.NewCollector(images.DefaultThresholds(), f.node.CRI, f.node.CRI)
	collect := func() bool {
		t.Helper()
		if err := store.Collect(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		_, present, err := f.node.CRI.Image(t.Context(), dataImage)
		if err != nil {
			t.Fatal(err)
		}
		return present
	}
	if !collect() {
		t.Error("an image that is mounted was collected")
	}
	f.delete("mounts")
	f.await("mounts", "gone", gone)
	if table, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(table), "image-volumes") {
		t.Errorf("mounts left of the pod (%v):\n%s", err, table)
	}
	for end := time.Now().Add(10 * time.Second); collect(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("an image that is no longer mounted stays")
		}
	}
}

func TestImageVolumesThatCannotBeHad(t *testing.T) {
	f := start(t)
	f.node.Import(t, ociarchive.Image{Name: dataImage, Files: map[string]ociarchive.File{"a": {Content: []byte("x"), Mode: 0o644}}})
	with := func(name, reference string, policy corev1.PullPolicy, sub string) {
		f.create(newPod(name, forever, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{imageVolume("data", reference, policy)}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{mountOf("data", "/data", sub)}
		}))
	}
	with("never", "127.0.0.1:1/none:v1", corev1.PullNever, "")
	with("absent", "127.0.0.1:1/none:v1", corev1.PullIfNotPresent, "")
	with("nosub", dataImage, corev1.PullIfNotPresent, "nowhere")

	p := f.await("never", "waiting", waiting("ErrImageNeverPull"))
	hasEvent(`Container image "127.0.0.1:1/none:v1" is not present with pull policy of Never`)(t, f, p)
	p = f.await("absent", "waiting", waiting("ImagePullBackOff"))
	hasEvent(`Back-off pulling image "127.0.0.1:1/none:v1"`)(t, f, p)
	p = f.await("nosub", "waiting", waiting("CreateContainerError"))
	hasEvent("nowhere")(t, f, p)
}
