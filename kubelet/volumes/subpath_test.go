package volumes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func subpathBench(t *testing.T) (b *bench, pod *corev1.Pod, volume string) {
	t.Helper()
	b = newBench(t)
	pod = podWith(corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	return b, pod, b.mount(t, pod)["data"]
}

func TestSubpathBindsAndCreates(t *testing.T) {
	t.Parallel()
	b, pod, volume := subpathBench(t)
	place, err := b.Subpath(t.Context(), pod, "main", 0, volume, "deep/er/dir")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(b.root, "pods", string(pod.UID), "volume-subpaths/data/main/0"); place != want {
		t.Errorf("bound at %s, want %s", place, want)
	}
	if err := os.WriteFile(filepath.Join(place, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(volume, "deep/er/dir/file")); err != nil || string(got) != "x" {
		t.Errorf("the volume holds %q: %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(volume, "deep/er")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("a created directory has mode %v (%v), want the volume's", info.Mode(), err)
	}
	// A file now, at the same place.
	if place, err = b.Subpath(t.Context(), pod, "main", 0, volume, "deep/er/dir/file"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(place); err != nil || string(got) != "x" {
		t.Errorf("the bound file holds %q: %v", got, err)
	}
	if _, err := b.Subpath(t.Context(), pod, "main", 0, volume, "deep/er/dir/file"); err != nil {
		t.Errorf("again: %v", err)
	}
	if points, err := mountsBelow(filepath.Dir(place)); err != nil || len(points) != 1 {
		t.Errorf("mounts at the place: %v (%v)", points, err)
	}
	b.unmountAll(t, pod)
}

func TestSubpathFollowsAReplacedFile(t *testing.T) {
	t.Parallel()
	b, pod, volume := subpathBench(t)
	write := func(text string) {
		next := filepath.Join(volume, "next")
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(volume, "file")); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"one", "two"} {
		write(text)
		place, err := b.Subpath(t.Context(), pod, "main", 0, volume, "file")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(place); err != nil || string(got) != text {
			t.Errorf("the bound file holds %q (%v), want %q", got, err, text)
		}
	}
}

func TestSubpathNeverLeavesTheVolume(t *testing.T) {
	t.Parallel()
	b, pod, volume := subpathBench(t)
	outside := t.TempDir()
	for link, target := range map[string]string{
		"absolute": outside, "relative": strings.Repeat("../", 20) + strings.TrimPrefix(outside, "/"), "dangling": "/nowhere/at/all",
		"magic": "/proc/self/root", "inside": "real",
	} {
		if err := os.Symlink(target, filepath.Join(volume, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(volume, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"..", "../x", "/etc", "a/../../b", "absolute", "absolute/new", "relative", "relative/new", "dangling", "dangling/new", "magic", "magic/etc",
	} {
		if place, err := b.Subpath(t.Context(), pod, "main", 0, volume, path); err == nil {
			t.Errorf("subpath %q was bound at %s", path, place)
		} else if !strings.HasPrefix(err.Error(), `failed to prepare subPath for volumeMount "data" of container "main"`) {
			t.Errorf("subpath %q: %v", path, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("made outside the volume: %v (%v)", left, err)
	}
	if _, err := b.Subpath(t.Context(), pod, "main", 0, volume, "inside/new"); err != nil {
		t.Errorf("a link that stays inside was refused: %v", err)
	}
	if _, err := os.Stat(filepath.Join(volume, "real/new")); err != nil {
		t.Errorf("behind a link inside nothing was made: %v", err)
	}
}
